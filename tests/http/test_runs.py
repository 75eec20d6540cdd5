"""Runs over HTTP: how one is doing, cancelling it, and reading it again after a cut."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import anyio
import httpx
import pytest
from quart import Request

from flowcore import BaseAsyncOp, BaseOp, FlowStreamChunk, Run
from flowcore.sse import SSEDecoder, SSEEvent
from flowcore_http import HttpSettings, create_app
from flowcore_http.exchange import Exchange
from flowcore_http.settings import ReplaySettings


class CountOp(BaseAsyncOp):
    """Streams 1, 2, 3 …, and waits for a sign before each of those in `stops`."""

    to: int = 5
    stop: int = 0

    async def async_execute(self):
        gate: Gate = GATE[0]
        gate.started += 1
        try:
            for number in range(1, self.to + 1):
                if number == self.stop:
                    await gate.open.wait()
                await self.context.add_stream_chunk(FlowStreamChunk(chunk=str(number)))
            gate.finished.set()
        finally:
            gate.ended += 1


class AnswerOp(BaseAsyncOp):
    """Answers at once."""

    async def async_execute(self):
        self.context.response.answer = "42"


class BrokenOp(BaseAsyncOp):
    """Fails after a chunk."""

    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="1"))
        try:
            [].remove(0)
        except ValueError as error:
            raise ValueError("no luck") from error


class BrokenThreadOp(BaseOp):
    """Fails in a thread."""

    def execute(self):
        raise ValueError("no luck")


class CarefulOp(BaseAsyncOp):
    """Answers although its sub-ops fail."""

    async def async_execute(self):
        for op in self.ops.values():
            with suppress(ValueError):
                await op.async_call()
        self.context.response.answer = "42"


class BigOp(BaseAsyncOp):
    """Emits more than a connection holds, when it is told to."""

    async def async_execute(self):
        await GATE[0].open.wait()
        for _ in range(2):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="x" * 4_000_000))


class Gate:
    """What a test and its op tell each other."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.finished = anyio.Event()
        self.started = 0
        self.ended = 0


GATE: list[Gate] = []
OPS = (CountOp, AnswerOp, BrokenOp, BrokenThreadOp, CarefulOp, BigOp)


@pytest.fixture(autouse=True)
def gate() -> Gate:
    GATE[:] = [Gate()]
    return GATE[0]


def flow(content: str, **keys: Any) -> dict[str, dict[str, Any]]:
    return {"demo": {"flow_content": content, "stream": True, **keys}}


def texts(events: list[SSEEvent]) -> list[str]:
    return [
        event.data if event.data == "[DONE]" else json.loads(event.data)["chunk"]
        for event in events
        if event.event == "message"
    ]


async def read(response: httpx.Response, until: Callable[[list[SSEEvent]], bool] | None = None):
    """Return the next events of a stream, all or until a condition holds."""
    # An iterator that is left alone closes its response.
    parts = response.extensions.setdefault("parts", response.aiter_bytes())
    decoder = response.extensions.setdefault("decoder", SSEDecoder())
    events: list[SSEEvent] = []
    async for data in parts:
        events += decoder.feed(data)
        if until is not None and until(events):
            break
    return events


def count(wanted: int) -> Callable[[list[SSEEvent]], bool]:
    return lambda events: len(events) >= wanted


async def cut_after(client: httpx.AsyncClient, wanted: int) -> tuple[str, list[SSEEvent]]:
    """Start the flow, read so many events and cut the connection."""
    async with client.stream("POST", "/demo", json={}) as response:
        events = await read(response, count(wanted))
        return response.headers["X-Run-Id"], events


@pytest.fixture
def client_of() -> Callable[[Any], httpx.AsyncClient]:
    return lambda server: httpx.AsyncClient(base_url=server.url, timeout=10)


# --- how a run is doing


async def test_a_run_can_be_asked_how_it_is_doing(serve, client_of, gate):
    async with serve(flow("CountOp(stop=3)"), *OPS) as server, client_of(server) as client:
        async with client.stream("POST", "/demo", json={}) as response:
            await read(response, count(2))
            run_id = response.headers["X-Run-Id"]
            running = (await client.get(f"/runs/{run_id}")).json()
            gate.open.set()
            await gate.finished.wait()
            await server.no_runs()
        done = await client.get(f"/runs/{run_id}")

    started_at = running.pop("started_at")
    assert datetime.fromisoformat(started_at).tzinfo is not None
    assert running == {
        "id": run_id,
        "flow": "demo",
        "state": "running",
        "ended_at": None,
        "chunks": 2,
        "events": 2,
        "ending": None,
    }
    assert done.headers["Cache-Control"] == "no-store"
    about = done.json()
    assert (about["state"], about["chunks"], about["ending"]) == ("done", 5, {"code": "done"})
    assert started_at <= about["ended_at"]


async def test_the_ending_of_a_failed_run_has_its_code_and_error_id(serve, client_of):
    async with serve(flow("BrokenOp()"), *OPS) as server, client_of(server) as client:
        response = await client.post("/demo", json={})
        about = (await client.get(f"/runs/{response.headers['X-Run-Id']}")).json()

    assert about["state"] == "failed"
    assert about["ending"]["code"] == "op_failed"
    assert about["ending"]["detail"] == "ValueError: no luck"
    assert about["ending"]["error_id"] in response.text


async def test_a_run_that_does_not_stream_is_known_too_but_has_no_events(serve, client_of):
    flows = {"demo": {"flow_content": "AnswerOp()"}}
    async with serve(flows, *OPS) as server, client_of(server) as client:
        run_id = (await client.post("/demo", json={})).headers["X-Run-Id"]
        about = (await client.get(f"/runs/{run_id}")).json()
        events = await client.get(f"/runs/{run_id}/events")

    assert (about["state"], about["events"]) == ("done", 0)
    assert (events.status_code, events.json()["code"]) == (409, "not_streamed")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/runs/{}"), ("GET", "/runs/{}/events"), ("POST", "/runs/{}/cancel")],
)
@pytest.mark.parametrize("run_id", ["0" * 32, "x", "..", "%00", "a" * 5000])
async def test_an_unknown_run_is_a_problem(serve, client_of, method, path, run_id):
    async with serve(flow("CountOp()"), *OPS) as server, client_of(server) as client:
        response = await client.request(method, path.format(run_id))

    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_a_run_is_forgotten_some_time_after_its_end(serve, client_of):
    replay = ReplaySettings(seconds=1)
    async with serve(flow("CountOp()"), *OPS, replay=replay) as server, client_of(server) as client:
        run_id = (await client.post("/demo", json={})).headers["X-Run-Id"]
        assert (await client.get(f"/runs/{run_id}")).status_code == 200
        while (await client.get(f"/runs/{run_id}")).status_code == 200:
            await anyio.sleep(0.02)
        assert (await client.get(f"/runs/{run_id}")).json()["code"] == "unknown_run"


def test_runs_are_forgotten_also_where_the_app_is_served_a_second_time(make_app):
    quart = create_app(
        make_app(flow("CountOp()"), *OPS), HttpSettings(replay=ReplaySettings(seconds=0.2))
    )

    async def serve_once() -> int:
        async with quart.test_app() as serving:
            client = serving.test_client()
            response = await client.post("/demo", json={})
            await response.get_data()
            with anyio.fail_after(5):
                while response.status_code == 200:
                    await anyio.sleep(0.02)
                    response = await client.get(f"/runs/{response.headers['X-Run-Id']}")
            return response.status_code

    for _ in range(2):
        GATE[:] = [Gate()]
        assert asyncio.run(serve_once()) == 404

    async def leave_one() -> None:
        async with quart.test_app() as serving:
            await (await serving.test_client().post("/demo", json={})).get_data()

    asyncio.run(leave_one())
    assert asyncio.run(serve_once()) == 404


async def test_those_that_ended_first_are_forgotten_first_when_there_are_too_many(serve, client_of):
    replay = ReplaySettings(total_bytes=50_000)
    async with serve(flow("CountOp()"), *OPS, replay=replay) as server, client_of(server) as client:
        ids = [(await client.post("/demo", json={})).headers["X-Run-Id"] for _ in range(20)]
        known = [(await client.get(f"/runs/{run_id}")).status_code == 200 for run_id in ids]

    assert known == sorted(known)
    assert 3 < sum(known) < 15


def alive(kind: type[Any]) -> list[Any]:
    return [each for each in gc.get_objects() if isinstance(each, kind)]


ENDINGS = {
    "done": flow("CountOp()"),
    "cancelled": flow("CountOp(stop=3)"),
    "left": flow("CountOp(stop=3)"),
    "left in parallel": flow("CountOp(stop=3) | CountOp(stop=3)"),
    "timed out": flow("CountOp(stop=3)", deadlines={"total": 0.2}),
    "answered": flow("CountOp()", stream=False),
    "failed": flow("BrokenOp()"),
    "failed without a stream": flow("BrokenOp()", stream=False),
    "failed in parallel": flow("BrokenOp() | CountOp(stop=3)"),
    "failed in a thread": flow("BrokenThreadOp()"),
    "failed in parts": flow("CarefulOp() << {'a': BrokenOp() | CountOp(stop=3), 'b': BrokenOp()}"),
    "passed over": flow("BrokenOp(raise_exception=False) >> AnswerOp()"),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_run_and_request_are_freed_at_their_end_though_the_run_stays_known(
    serve, client_of, caplog, ending: str
):
    caplog.set_level(logging.CRITICAL, "flowcore")  # pytest keeps the records of errors
    gc.collect()
    gc.disable()  # a large input must not wait for that
    try:
        async with serve(ENDINGS[ending], *OPS) as server, client_of(server) as client:
            async with client.stream("POST", "/demo", json={"x": ending}) as response:
                run_id = response.headers.get("X-Run-Id")
                if ending == "cancelled":
                    await client.post(f"/runs/{run_id}/cancel")
                if not ending.startswith("left"):
                    await read(response)
            await server.no_runs()
            known = (await client.get(f"/runs/{run_id}")).status_code == 200
            assert known or ending == "failed without a stream"  # whose answer does not name it
            with anyio.fail_after(5):  # a thread may hold them still, for a moment
                while [run for run in alive(Run) if run.data.get("x") == ending]:
                    await anyio.sleep(0.01)
            assert not [each for each in alive(Exchange) if each.path == "/demo"]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/nope"), ("GET", "/docs"), ("GET", "/openapi.json")]
)
async def test_a_request_that_runs_nothing_is_freed_at_its_end(serve, client_of, method, path):
    gc.collect()
    gc.disable()
    try:
        async with serve(flow("CountOp()"), *OPS) as server, client_of(server) as client:
            await client.request(method, path)
            await client.get("/health")  # over the same connection: the other one has ended
            assert not [each for each in alive(Exchange) if each.path == path]
            assert not [each for each in alive(Request) if each.path == path]
    finally:
        gc.enable()


async def test_what_was_logged_of_a_failed_run_can_be_shown_after_its_end(serve, client_of, caplog):
    async with serve(flow("BrokenOp()"), *OPS) as server, client_of(server) as client:
        await client.post("/demo", json={})
        await server.no_runs()
        [shown] = [traceback.format_exception(*each.exc_info) for each in caplog.records]

    text = "".join(shown)
    assert "[].remove(0)" in text
    assert 'raise ValueError("no luck") from error' in text


async def test_nobody_crowds_out_the_runs_of_others(serve, client_of):
    keys = {"alice": "alice-key-0123456789", "bob": "bob-key-0123456789ab"}
    alice, bob = ({"Authorization": f"Bearer {key}"} for key in keys.values())
    replay = ReplaySettings(total_bytes=50_000)
    async with serve(flow("CountOp()"), *OPS, replay=replay, api_keys=keys) as server:
        async with client_of(server) as client:
            first = await client.post("/demo", json={}, headers=bob)
            others = [await client.post("/demo", json={}, headers=alice) for _ in range(30)]
            last = others[-1]
            bobs = await client.get(f"/runs/{first.headers['X-Run-Id']}", headers=bob)
            alices = await client.get(f"/runs/{last.headers['X-Run-Id']}", headers=alice)

    assert (bobs.status_code, alices.status_code) == (200, 200)


# --- cancelling


async def test_cancelling_ends_the_run_and_tells_its_reader(serve, client_of, gate):
    async with serve(flow("CountOp(stop=3)"), *OPS) as server, client_of(server) as client:
        async with client.stream("POST", "/demo", json={}) as response:
            run_id = response.headers["X-Run-Id"]
            events = await read(response, count(2))
            cancelled = await client.post(f"/runs/{run_id}/cancel")
            events += await read(response)
        await server.no_runs()
        about = (await client.get(f"/runs/{run_id}")).json()
        again = await client.post(f"/runs/{run_id}/cancel")

    assert cancelled.status_code == 200
    assert texts(events) == ["1", "2", "the run was cancelled (api)", "[DONE]"]
    assert about["state"] == "cancelled"
    assert about["ending"]["reason"] == "api"
    assert gate.ended == 1
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")


async def test_cancelling_a_run_that_does_not_stream_is_a_conflict_for_its_caller(serve, client_of):
    flows = {"demo": {"flow_content": "CountOp(stop=1)"}}
    async with serve(flows, *OPS) as server, client_of(server) as client:
        answers: list[httpx.Response] = []
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                answers.append(await client.post("/demo", json={}))

            tasks.start_soon(ask)
            while not server.app.runs:
                await anyio.sleep(0.01)
            await client.post(f"/runs/{next(iter(server.app.runs))}/cancel")

    assert (answers[0].status_code, answers[0].json()["code"]) == (409, "cancelled")


# --- resuming


@pytest.mark.parametrize("seen", [1, 2, 5, 6])
@pytest.mark.parametrize("how", ["events", "post"])
async def test_what_was_missed_is_sent_exactly_once(serve, client_of, gate, seen: int, how: str):
    grace = {"on_disconnect": {"grace": 10}}
    async with serve(flow("CountOp()", **grace), *OPS) as server, client_of(server) as client:
        all_of_it = await read(await client.post("/demo", json={}))
        run_id = all_of_it[0].id.partition("-")[0]
        headers = {"Last-Event-ID": all_of_it[seen - 1].id}
        path = f"/runs/{run_id}/events" if how == "events" else "/demo"
        method = "GET" if how == "events" else "POST"
        response = await client.request(method, path, headers=headers)

    assert gate.started == 1
    assert response.headers["X-Run-Id"] == run_id
    if seen < 6:
        assert await read(response) == all_of_it[seen:]
    elif how == "events":
        assert response.status_code == 204
    else:
        assert await read(response) == all_of_it[-1:]


async def test_a_cut_stream_goes_on_where_it_was_cut(serve, client_of, gate):
    grace = {"on_disconnect": {"grace": 10}}
    async with serve(flow("CountOp(stop=4)", **grace), *OPS) as server, client_of(server) as client:
        run_id, events = await cut_after(client, 3)
        await anyio.sleep(0.05)
        assert server.app.runs
        async with client.stream(
            "GET", f"/runs/{run_id}/events", headers={"Last-Event-ID": events[-1].id}
        ) as response:
            gate.open.set()
            events += await read(response)

    assert texts(events) == ["1", "2", "3", "4", "5", "[DONE]"]
    assert [event.id for event in events] == [f"{run_id}-{n}" for n in range(1, 7)]
    assert gate.started == 1


async def test_a_run_whose_reader_does_not_come_back_in_time_is_cancelled(serve, client_of, gate):
    grace = {"on_disconnect": {"grace": 1}}
    async with serve(flow("CountOp(stop=2)", **grace), *OPS) as server, client_of(server) as client:
        run_id, _ = await cut_after(client, 1)
        assert server.app.runs
        await server.no_runs()
        about = (await client.get(f"/runs/{run_id}")).json()

    assert (about["state"], about["ending"]["reason"]) == ("cancelled", "client")
    assert gate.ended == 1


async def test_a_run_without_grace_is_cancelled_at_once_and_says_so_to_who_comes_back(
    serve, client_of, gate
):
    async with serve(flow("CountOp(stop=2)"), *OPS) as server, client_of(server) as client:
        run_id, events = await cut_after(client, 1)
        await server.no_runs()
        response = await client.post("/demo", headers={"Last-Event-ID": events[-1].id}, json={})
        rest = await read(response)

    assert texts(rest) == ["the run was cancelled (client)", "[DONE]"]
    assert json.loads(rest[0].data)["metadata"] == {"code": "cancelled", "reason": "client"}
    assert rest[0].id == f"{run_id}-2"
    assert gate.started == 1


async def test_chunks_that_were_emitted_while_nobody_read_are_not_lost(serve, client_of, gate):
    grace = {"on_disconnect": {"grace": 10}}
    async with serve(flow("CountOp(to=200, stop=2)", **grace), *OPS) as server:
        async with client_of(server) as client:
            run_id, events = await cut_after(client, 1)
            gate.open.set()
            await gate.finished.wait()
            await server.no_runs()
            events += await read(
                await client.get(f"/runs/{run_id}/events", headers={"Last-Event-ID": events[-1].id})
            )

    assert texts(events) == [*(str(n) for n in range(1, 201)), "[DONE]"]


async def test_two_readers_of_one_run_both_get_everything(serve, client_of, gate):
    async with serve(flow("CountOp(to=50, stop=2)"), *OPS) as server, client_of(server) as client:
        async with client.stream("POST", "/demo", json={}) as response:
            run_id = response.headers["X-Run-Id"]
            got: list[list[SSEEvent]] = []

            async def follow() -> None:
                async with client.stream("GET", f"/runs/{run_id}/events") as other:
                    gate.open.set()
                    got.append(await read(other))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                tasks.start_soon(follow)
                got.append(await read(response))

    assert [texts(events) for events in got] == [[*(str(n) for n in range(1, 51)), "[DONE]"]] * 3


async def test_a_reader_that_leaves_does_not_end_a_run_that_another_reads(serve, client_of, gate):
    async with serve(flow("CountOp(stop=2)"), *OPS) as server, client_of(server) as client:
        async with client.stream("POST", "/demo", json={}) as response:
            await read(response, count(1))
            run_id = response.headers["X-Run-Id"]
            other = await client.send(
                client.build_request("GET", f"/runs/{run_id}/events"), stream=True
            )
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        gate.open.set()
        events = await read(other)
        await other.aclose()

    assert texts(events) == ["1", "2", "3", "4", "5", "[DONE]"]


async def test_what_is_no_longer_kept_is_a_gap(serve, client_of, gate):
    grace = {"on_disconnect": {"grace": 10}}
    replay = ReplaySettings(bytes_per_run=1000)
    async with serve(flow("CountOp(to=600, stop=2)", **grace), *OPS, replay=replay) as server:
        async with client_of(server) as client:
            run_id, events = await cut_after(client, 1)
            # Another reader takes all of it, in several deliveries.
            async with client.stream("GET", f"/runs/{run_id}/events") as response:
                gate.open.set()
                await read(response)
            rest = await read(
                await client.get(f"/runs/{run_id}/events", headers={"Last-Event-ID": events[-1].id})
            )

    gap = json.loads(rest[0].data)
    assert rest[0].event == "gap"
    assert gap["first"] == 2
    assert rest[0].id == f"{run_id}-{gap['last']}"
    assert texts(rest) == [*(str(n) for n in range(gap["last"] + 1, 601)), "[DONE]"]
    assert len(rest) > 2


@pytest.mark.parametrize("event_id", ["x", "0" * 32, "{}-999", "{}--1", "{}-1x", "ffff-1", "{}-6"])
@pytest.mark.parametrize("how", ["events", "post"])
async def test_an_event_that_never_was_is_refused(serve, client_of, gate, event_id, how):
    async with serve(flow("CountOp(to=3)"), *OPS) as server, client_of(server) as client:
        run_id = (await client.post("/demo", json={})).headers["X-Run-Id"]
        headers = {"Last-Event-ID": event_id.format(run_id)}
        path, method = (f"/runs/{run_id}/events", "GET") if how == "events" else ("/demo", "POST")
        response = await client.request(method, path, headers=headers)

    assert response.status_code in {400, 404}
    assert response.json()["code"] in {"invalid_last_event_id", "unknown_run"}
    assert gate.started == 1


async def test_a_run_of_another_flow_is_not_resumed(serve, client_of):
    flows = {**flow("CountOp()"), "other": "CountOp()"}
    async with serve(flows, *OPS) as server, client_of(server) as client:
        events = await read(await client.post("/demo", json={}))
        response = await client.post("/other", headers={"Last-Event-ID": events[0].id}, json={})

    assert (response.status_code, response.json()["code"]) == (404, "unknown_run")


async def test_a_run_belongs_to_the_key_that_started_it(serve, client_of, gate):
    keys = {"alice": "alice-key-0123456789", "bob": "bob-key-0123456789ab"}
    alice, bob = ({"Authorization": f"Bearer {key}"} for key in keys.values())
    async with serve(flow("CountOp(stop=2)"), *OPS, api_keys=keys) as server:
        async with client_of(server) as client:
            async with client.stream("POST", "/demo", json={}, headers=alice) as response:
                events = await read(response, count(1))
                run_id = response.headers["X-Run-Id"]
                paths = [("GET", f"/runs/{run_id}"), ("GET", f"/runs/{run_id}/events")]
                paths += [("POST", f"/runs/{run_id}/cancel"), ("POST", "/demo")]
                for method, path in paths:
                    headers = {"Last-Event-ID": events[0].id}
                    others = await client.request(method, path, headers=bob | headers, json={})
                    nobody = await client.request(method, path, headers=headers)
                    assert (others.status_code, nobody.status_code) == (404, 401)
                own = await client.get(f"/runs/{run_id}", headers=alice)

    assert own.json()["state"] == "running"
    assert gate.started == 1


async def test_runs_can_be_asked_for_while_the_service_drains(serve, client_of, gate):
    from flowcore_http.server import in_flight

    async with serve(flow("CountOp(stop=2)"), *OPS) as server, client_of(server) as client:
        async with client.stream("POST", "/demo", json={}) as response:
            run_id = response.headers["X-Run-Id"]
            in_flight(server.quart).refuse_new()
            refused = await client.post("/demo", json={})
            shown = await client.get(f"/runs/{run_id}")
            gate.open.set()
            await read(response)

    assert (refused.status_code, shown.status_code) == (503, 200)


@pytest.mark.parametrize("how", ["events", "post"])
async def test_a_run_can_be_resumed_while_the_service_drains(serve, client_of, gate, how: str):
    from flowcore_http.server import in_flight

    grace = {"on_disconnect": {"grace": 10}}
    async with serve(flow("CountOp(stop=2)", **grace), *OPS) as server, client_of(server) as client:
        run_id, events = await cut_after(client, 1)
        in_flight(server.quart).refuse_new()
        path = f"/runs/{run_id}/events" if how == "events" else "/demo"
        method = "GET" if how == "events" else "POST"
        headers = {"Last-Event-ID": events[-1].id}
        async with client.stream(method, path, headers=headers) as response:
            gate.open.set()
            events += await read(response)

    assert texts(events) == ["1", "2", "3", "4", "5", "[DONE]"]


async def test_the_drain_waits_for_those_who_resume_meanwhile(serve, client_of, gate):
    from flowcore_http.server import in_flight
    from flowcore_http.serving import _drain  # pyright: ignore[reportPrivateUsage]

    demo = flow("CountOp(to=1) >> BigOp()", on_disconnect={"grace": 10})
    drained = anyio.Event()
    async with serve(demo, *OPS) as server, client_of(server) as client:
        run_id, events = await cut_after(client, 1)

        async def drain() -> None:
            await _drain(server.app, in_flight(server.quart), 10)
            drained.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain)
            while not in_flight(server.quart).refusing:
                await anyio.sleep(0.01)
            headers = {"Last-Event-ID": events[-1].id}
            async with client.stream("GET", f"/runs/{run_id}/events", headers=headers) as response:
                gate.open.set()
                await server.no_runs()
                await anyio.sleep(0.2)
                assert not drained.is_set()
                events += await read(response)

    assert texts(events)[-1] == "[DONE]"
    assert drained.is_set()


async def test_asking_for_the_headers_of_events_reads_none_of_them(serve, client_of, gate):
    async with serve(flow("CountOp(stop=2)"), *OPS) as server, client_of(server) as client:
        async with client.stream("POST", "/demo", json={}) as response:
            run_id = response.headers["X-Run-Id"]
            head = await client.head(f"/runs/{run_id}/events")
            gate.open.set()
            events = await read(response)

    assert (head.status_code, head.headers["X-Run-Id"]) == (200, run_id)
    assert head.headers["Content-Type"] == "text/event-stream"
    assert "Content-Length" not in head.headers
    assert texts(events) == ["1", "2", "3", "4", "5", "[DONE]"]


async def test_as_many_runs_as_are_allowed_are_answered_with_503(client_of, make_app, gate, serve):
    async with serve(flow("CountOp(stop=1)"), *OPS, config={"max_concurrent_runs": 1}) as server:
        async with client_of(server) as client:
            async with client.stream("POST", "/demo", json={}):
                refused = await client.post("/demo", json={})

    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_runs")
    assert refused.headers["Retry-After"] == "1"


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_deadline_is_an_error_chunk_or_status_504(serve, client_of, streamed: bool):
    flows = {
        "demo": {
            "flow_content": "CountOp(stop=2)",
            "stream": streamed,
            "deadlines": {"total": 0.1},
        }
    }
    async with serve(flows, *OPS) as server, client_of(server) as client:
        response = await client.post("/demo", json={})

        if streamed:
            events = await read(response)
            assert json.loads(events[-2].data)["metadata"]["code"] == "total_timeout"
            assert events[-1].data == "[DONE]"
        else:
            assert (response.status_code, response.json()["code"]) == (504, "total_timeout")
