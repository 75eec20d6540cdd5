"""The trace of a run over HTTP: `event:op` among the chunks, for those who ask for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from click.testing import CliRunner

from flowcore import BaseAsyncOp, FlowStreamChunk, TracingClient
from flowcore.cli import main
from flowcore.sse import SSEDecoder, SSEEvent
from flowcore_http import HttpClient, SyncHttpClient

TRACE = {"Flowcore-Trace": "ops"}


class SayOp(BaseAsyncOp):
    """Says something."""

    text: str = "hi"
    times: int = 1

    async def async_execute(self):
        for _ in range(self.times):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=self.text))
            await anyio.lowlevel.checkpoint()


class FailOp(BaseAsyncOp):
    """Fails."""

    async def async_execute(self):
        raise ValueError("no luck")


class WaitOp(BaseAsyncOp):
    """Waits for ever."""

    async def async_execute(self):
        await anyio.sleep_forever()


class LoopOp(BaseAsyncOp):
    """Calls its sub-op again and again and emits nothing."""

    calls = 0

    async def async_execute(self):
        while True:
            LoopOp.calls += 1
            await self.ops["say_op"].async_call()
            await anyio.lowlevel.checkpoint()


OPS = (SayOp, FailOp, WaitOp, LoopOp)


def flow(content: str, **keys: Any) -> dict[str, dict[str, Any]]:
    return {"demo": {"flow_content": content, "stream": True, **keys}}


def events_of(data: bytes) -> list[SSEEvent]:
    return SSEDecoder().feed(data)


def told(event: SSEEvent) -> str:
    if event.data == "[DONE]":
        return event.data
    about = json.loads(event.data)
    if event.event == "op":
        return f"{about['op']} {about['state']}"
    return f"{about['chunk_type']}: {about['chunk']}"


async def read(response: httpx.Response, until: Callable[[list[str]], bool]) -> list[SSEEvent]:
    decoder, events = SSEDecoder(), []
    async for data in response.aiter_bytes():
        events += decoder.feed(data)
        if until([*map(told, events)]):
            break
    return events


@pytest.fixture
def client_of() -> Callable[[Any], httpx.AsyncClient]:
    return lambda server: httpx.AsyncClient(base_url=server.url, timeout=10)


async def test_who_asks_is_told_when_each_op_starts_and_ends(serve, client_of):
    content = "SayOp() >> (SayOp(text='a') << {'sub': WaitOp()})"
    async with serve(flow(content), *OPS) as server, client_of(server) as client:
        response = await client.post("/demo", json={}, headers=TRACE)

    events = events_of(response.content)
    assert [*map(told, events)] == [
        "0.0 started", "answer: hi", "0.0 finished",
        "0.1 started", "answer: a", "0.1 finished", "[DONE]",
    ]  # fmt: skip
    numbers = [int(event.id.partition("-")[2]) for event in events]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]
    about = json.loads(events[0].data)
    assert set(about) == {"op", "name", "state", "at"}
    assert about["name"] == "SayOp"
    assert 0 <= about["at"] < 5


@pytest.mark.parametrize("headers", [{}, {"Flowcore-Trace": ""}, {"Flowcore-Trace": "all"}])
async def test_who_does_not_ask_is_not_told(serve, client_of, headers):
    async with serve(flow("SayOp()"), *OPS) as server, client_of(server) as client:
        response = await client.post("/demo", json={}, headers=headers)

    assert [*map(told, events_of(response.content))] == ["answer: hi", "[DONE]"]
    assert b"event:" not in response.content


async def test_the_error_chunk_stays_right_before_the_end_mark(serve, client_of):
    async with serve(flow("FailOp()"), *OPS) as server, client_of(server) as client:
        response = await client.post("/demo", json={}, headers=TRACE)

    *ops, error, end = map(told, events_of(response.content))
    assert ops == ["0 started", "0 failed"]
    assert error.startswith("error: ValueError: no luck")
    assert end == "[DONE]"


async def test_a_run_that_is_cancelled_tells_which_op_was_running(serve, client_of):
    content = "SayOp() >> WaitOp()"
    async with serve(flow(content), *OPS) as server, client_of(server) as client:
        async with client.stream("POST", "/demo", json={}, headers=TRACE) as response:
            parts = response.aiter_bytes()
            decoder, events = SSEDecoder(), []
            async for data in parts:
                events += decoder.feed(data)
                if told(events[-1]) == "0.1 started" if events else False:
                    await client.post(f"/runs/{response.headers['X-Run-Id']}/cancel")

    assert [*map(told, events)][3:5] == ["0.1 started", "0.1 cancelled"]
    assert json.loads(events[-2].data)["metadata"]["code"] == "cancelled"
    assert events[-1].data == "[DONE]"


@pytest.mark.parametrize("seen", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("how", ["events", "post"])
async def test_a_trace_is_resumed_after_any_of_its_events(serve, client_of, seen, how):
    content = flow("SayOp() >> SayOp()", on_disconnect={"grace": 10})
    async with serve(content, *OPS) as server, client_of(server) as client:
        events = events_of((await client.post("/demo", json={}, headers=TRACE)).content)
        headers = {"Last-Event-ID": events[seen - 1].id}
        run_id = events[0].id.partition("-")[0]
        path = f"/runs/{run_id}/events" if how == "events" else "/demo"
        method = "GET" if how == "events" else "POST"
        response = await client.request(method, path, headers=headers)

    assert len(events) == 7
    assert events_of(response.content) == events[seen:]


async def test_a_trace_that_was_cut_goes_on_in_our_clients(serve, client_of):
    content = flow("SayOp(times=3) >> SayOp()", on_disconnect={"grace": 10})
    async with serve(content, *OPS) as server:
        async with HttpClient(server.url, headers=TRACE) as client:
            chunks = [chunk async for chunk in client.execute_stream_flow("demo")]
            rest = [chunk async for chunk in client.resume_stream(chunks[0]["event_id"])]

    assert [chunk["type"] for chunk in chunks] == [
        "op", "answer", "answer", "answer", "op", "op", "answer", "op",
    ]  # fmt: skip
    assert chunks[0]["content"] == {
        "op": "0.0", "name": "SayOp", "state": "started", "at": chunks[0]["content"]["at"],
    }  # fmt: skip
    assert chunks[0]["flow_id"] == chunks[1]["flow_id"]
    assert rest == chunks[1:]


async def test_the_blocking_client_hands_the_events_out_too(serve):
    def call(url: str) -> list[str]:
        with SyncHttpClient(url, headers=TRACE) as client:
            return [chunk["type"] for chunk in client.execute_stream_flow("demo")]

    async with serve(flow("SayOp()"), *OPS) as server:
        types = await anyio.to_thread.run_sync(call, server.url)

    assert types == ["op", "answer", "op"]


async def test_our_clients_ask_for_a_trace_of_one_run(serve):
    def call(url: str) -> list[str]:
        with SyncHttpClient(url) as client:
            traced = [chunk["type"] for chunk in client.trace_stream_flow("demo")]
            return traced + [chunk["type"] for chunk in client.execute_stream_flow("demo")]

    async with serve(flow("SayOp()"), *OPS) as server:
        types = await anyio.to_thread.run_sync(call, server.url)
        async with HttpClient(server.url) as client:
            traced = [chunk async for chunk in client.trace_stream_flow("demo")]

    assert types == ["op", "answer", "op", "answer"]
    assert [chunk["type"] for chunk in traced] == ["op", "answer", "op"]
    assert isinstance(client, TracingClient)


async def test_the_command_prints_the_trace_of_a_server(serve):
    command = ["call", "demo", "--trace", "--url"]
    async with serve(flow("SayOp() >> FailOp()"), *OPS) as server:
        result = await anyio.to_thread.run_sync(CliRunner().invoke, main, [*command, server.url])

    assert (result.exit_code, result.stdout) == (1, "hi\n")
    rows = [line.split() for line in result.stderr.splitlines() if "Op " in line]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("0.0", "SayOp", "finished"),
        ("0.1", "FailOp", "failed"),
    ]


async def test_a_slow_reader_holds_the_ops_up_and_misses_nothing(serve, client_of):
    LoopOp.calls = 0
    config = {"stream_buffer_chunks": 10}
    flows = flow("LoopOp() << SayOp(times=0)")
    async with serve(flows, *OPS, config=config) as server, client_of(server) as client:
        async with client.stream("POST", "/demo", json={}, headers=TRACE) as response:
            (run,) = server.app.runs.values()
            with anyio.fail_after(20):
                while not run.blocked_seconds and not run._channel.waiting_senders:
                    await anyio.sleep(0.01)
            events = await read(response, lambda events: len(events) > 1000)
        await server.no_runs()

    numbers = [int(event.id.partition("-")[2]) for event in events]
    assert numbers == [*range(1, len(numbers) + 1)]
    found = [*map(told, events)]
    assert found[0] == "0 started"
    assert found[1::2] == ["0.0 started"] * len(found[1::2])
    assert found[2::2] == ["0.0 finished"] * len(found[2::2])


async def test_a_gap_may_swallow_events_of_ops_too(serve, client_of):
    flows = flow("SayOp(times=100) >> SayOp()", on_disconnect={"grace": 10})
    async with serve(flows, *OPS, replay={"bytes_per_run": 1000}) as server:
        async with client_of(server) as client:
            response = await client.post("/demo", json={}, headers=TRACE)
            events = events_of(response.content)
            headers = {"Last-Event-ID": events[0].id}
            again = events_of((await client.post("/demo", json={}, headers=headers)).content)

    gap = json.loads(again[0].data)
    assert again[0].event == "gap"
    assert gap["first"] == 2
    assert again[1:] == events[gap["last"] :]


async def test_a_page_of_another_origin_may_ask_for_a_trace(serve, client_of):
    headers = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, flowcore-trace",
    }
    async with serve(flow("SayOp()"), *OPS) as server, client_of(server) as client:
        response = await client.options("/demo", headers=headers)

    assert response.headers["access-control-allow-headers"] == "Content-Type, Flowcore-Trace"


async def test_a_flow_that_is_not_streamed_takes_no_notice(serve, client_of):
    flows = {"demo": {"flow_content": "SayOp()"}}
    async with serve(flows, *OPS) as server, client_of(server) as client:
        response = await client.post("/demo", json={}, headers=TRACE)
        document = (await client.get("/openapi.json")).json()

    assert response.json()["answer"] == "hi"
    assert "parameters" not in document["paths"]["/demo"]["post"]


async def test_a_trace_does_not_count_as_gaps_between_chunks(serve, client_of):
    flows = flow("SayOp(times=3) >> SayOp()")
    gaps = 'flowcore_run_chunk_gap_seconds_count{flow="demo"} '
    async with serve(flows, *OPS) as server, client_of(server) as client:
        await client.post("/demo", json={}, headers=TRACE)
        await server.no_runs()
        metrics = (await client.get("/metrics")).text

    assert [line for line in metrics.splitlines() if line.startswith(gaps)] == [f"{gaps}0.0"]
