"""A streamed flow as a client on the wire sees it."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx
import pytest

from flowcore import BackendError, BaseAsyncOp, BaseOp, ChunkEnum, FlowStreamChunk
from flowcore_http import HttpSettings, create_app


class CountOp(BaseAsyncOp):
    """Streams 0, 1, 2 …"""

    to: int = 3

    async def async_execute(self):
        for number in range(self.to):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=str(number)))


class SyncCountOp(BaseOp):
    """Streams 0, 1, 2 from a worker thread."""

    def execute(self):
        for number in range(3):
            self.context.add_stream_chunk_sync(FlowStreamChunk(chunk=str(number)))


class RaiseOp(BaseAsyncOp):
    """Fails."""

    async def async_execute(self):
        raise ValueError("no luck")


class ReportErrorOp(BaseAsyncOp):
    """Reports a failure by an error chunk."""

    async def async_execute(self):
        chunk = FlowStreamChunk(chunk_type=ChunkEnum.ERROR, chunk="no luck")
        await self.context.add_stream_chunk(chunk)


class UpstreamErrorOp(BaseAsyncOp):
    """Fails as a model does."""

    async def async_execute(self):
        raise BackendError("the model is away", code="upstream_timeout")


OPS = (CountOp, SyncCountOp, RaiseOp, ReportErrorOp, UpstreamErrorOp)


def data_lines(body: bytes) -> list[bytes]:
    """Return what a client of the earlier framework looks at, without the prefix."""
    return [line[5:] for line in body.split(b"\n") if line.startswith(b"data:")]


def chunks(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(data) for data in data_lines(body) if data != b"[DONE]"]


async def test_a_stream_has_its_headers_its_events_and_its_end(serve):
    async with serve({"demo": "CountOp()"}, *OPS) as server, httpx.AsyncClient() as client:
        response = await client.post(f"{server.url}/demo", json={})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
    run_id = response.headers["X-Run-Id"]
    assert chunks(response.content) == [
        {"flow_id": run_id, "chunk_type": "answer", "chunk": n, "done": False, "metadata": {}}
        for n in "012"
    ]
    assert response.content.count(b"data:[DONE]\n\n") == 1
    assert response.content.endswith(b"data:[DONE]\n\n")


async def test_every_event_has_an_id_of_run_and_sequence_number(serve):
    async with serve({"demo": "CountOp()"}, *OPS) as server, httpx.AsyncClient() as client:
        response = await client.post(f"{server.url}/demo", json={})

    run_id = response.headers["X-Run-Id"].encode()
    lines = response.content.split(b"\n")
    assert lines[:2] == [b":", b"id:%s-0" % run_id]
    assert [line for line in lines[2:] if not line.startswith(b"data:")] == [
        *(part for n in (1, 2, 3, 4) for part in (b"id:%s-%d" % (run_id, n), b"")),
        b"",
    ]


async def test_the_first_chunk_arrives_before_the_run_ends(serve):
    release = anyio.Event()

    class HoldOp(BaseAsyncOp):
        async def async_execute(self):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="first"))
            await release.wait()
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="second"))

    async with serve({"hold": "HoldOp()"}, HoldOp) as server, httpx.AsyncClient() as client:
        with anyio.fail_after(5):
            async with client.stream("POST", f"{server.url}/hold", json={}) as response:
                body = b""
                async for data in response.aiter_bytes():
                    body += data
                    if b"first" in data:
                        assert b"second" not in body
                        release.set()

    assert [chunk["chunk"] for chunk in chunks(body)] == ["first", "second"]


async def test_the_headers_and_a_comment_arrive_before_the_first_chunk(serve):
    release = anyio.Event()

    class WaitOp(BaseAsyncOp):
        async def async_execute(self):
            await release.wait()

    async with serve({"wait": "WaitOp()"}, WaitOp) as server, httpx.AsyncClient() as client:
        with anyio.fail_after(5):
            async with client.stream("POST", f"{server.url}/wait", json={}) as response:
                parts = response.aiter_bytes()
                assert (await anext(parts)).startswith(b":\n")
                release.set()
                assert data_lines(b"".join([part async for part in parts])) == [b"[DONE]"]


@pytest.mark.parametrize(
    ("flow", "before"),
    [
        ("RaiseOp()", []),
        ("CountOp(to=2) >> RaiseOp()", ["0", "1"]),
        ("CountOp(to=1) >> RaiseOp() >> CountOp()", ["0"]),
        ("CountOp(to=1) >> ReportErrorOp() >> CountOp()", ["0"]),
        ("CountOp(to=1) >> UpstreamErrorOp()", ["0"]),
    ],
)
async def test_a_failed_run_has_one_error_chunk_right_before_its_end(serve, flow, before):
    async with serve({"demo": flow}, *OPS) as server, httpx.AsyncClient() as client:
        response = await client.post(f"{server.url}/demo", json={})
        again = await client.post(f"{server.url}/demo", json={})

    got = chunks(response.content)
    assert [chunk["chunk"] for chunk in got[:-1]] == before
    assert got[-1]["chunk_type"] == "error"
    assert "no luck" in got[-1]["chunk"] or "the model is away" in got[-1]["chunk"]
    assert data_lines(response.content)[-1] == b"[DONE]"
    assert response.content.count(b"[DONE]") == 1
    assert len(chunks(again.content)) == len(got)


async def test_no_traceback_reaches_the_client(serve):
    async with serve({"demo": "RaiseOp()"}, *OPS) as server, httpx.AsyncClient() as client:
        response = await client.post(f"{server.url}/demo", json={})

    assert b"Traceback" not in response.content
    assert b".py" not in response.content


async def test_a_sync_op_streams_from_its_thread(serve):
    async with serve({"demo": "SyncCountOp()"}, *OPS) as server, httpx.AsyncClient() as client:
        response = await client.post(f"{server.url}/demo", json={})

    assert [chunk["chunk"] for chunk in chunks(response.content)] == ["0", "1", "2"]


async def test_comments_fill_a_silence_and_stand_between_events_only(serve):
    release = anyio.Event()

    class QuietOp(BaseAsyncOp):
        async def async_execute(self):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="a"))
            await release.wait()
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="b"))

    async with (
        serve({"quiet": "QuietOp()"}, QuietOp, heartbeat=0.02) as server,
        httpx.AsyncClient() as client,
    ):
        with anyio.fail_after(5):
            async with client.stream("POST", f"{server.url}/quiet", json={}) as response:
                body = b""
                async for data in response.aiter_bytes():
                    body += data
                    if body.count(b"\n:\n") >= 5:
                        release.set()

    assert [chunk["chunk"] for chunk in chunks(body)] == ["a", "b"]
    # A comment stands right before an id line, or another comment, never inside an event.
    lines = body.split(b"\n")
    after = {lines[n + 1][:3] for n, line in enumerate(lines) if line == b":"}
    assert after <= {b":", b"id:"}
    assert data_lines(body)[-1] == b"[DONE]"


async def test_no_chunk_is_lost_where_heartbeats_and_chunks_meet(serve):
    class PacedOp(BaseAsyncOp):
        async def async_execute(self):
            for number in range(300):
                await anyio.sleep(0.0015)
                await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"{number} "))

    async with (
        serve({"paced": "PacedOp()"}, PacedOp, heartbeat=0.001) as server,
        httpx.AsyncClient() as client,
    ):
        response = await client.post(f"{server.url}/paced", json={})

    text = "".join(chunk["chunk"] for chunk in chunks(response.content))
    assert text.split() == [str(number) for number in range(300)]
    assert response.content.count(b"\n:\n") > 1


async def test_no_comment_follows_the_last_part_however_slowly_that_is_taken(make_app):
    sent: list[Any] = []

    async def receive() -> Any:
        if not sent:
            return {"type": "http.request", "body": b"{}", "more_body": False}
        return await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message["more_body"]:
            await anyio.sleep(0.1)  # ten times the silence that a comment would fill

    scope: Any = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.1"}, "http_version": "1.1",
        "method": "POST", "scheme": "http", "path": "/demo", "raw_path": b"/demo",
        "query_string": b"", "root_path": "", "client": None, "server": None, "extensions": {},
        "headers": [(b"host", b"t"), (b"content-type", b"application/json")],
    }  # fmt: skip
    async with make_app({"demo": "CountOp()"}, *OPS) as app:
        with anyio.fail_after(5):
            await create_app(app, HttpSettings(heartbeat=0.01))(scope, receive, send)

    assert [message["more_body"] for message in sent[1:]].index(False) == len(sent) - 2
    assert sent[-1]["body"].endswith(b"data:[DONE]\n\n")


async def test_a_run_that_others_cancel_says_so_before_its_end(serve):
    class SleepOp(BaseAsyncOp):
        async def async_execute(self):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="a"))
            await anyio.sleep_forever()

    async with serve({"sleep": "SleepOp()"}, SleepOp) as server, httpx.AsyncClient() as client:
        with anyio.fail_after(5):
            async with client.stream("POST", f"{server.url}/sleep", json={}) as response:
                body = b""
                async for data in response.aiter_bytes():
                    body += data
                    if len(chunks(body)) == 1:
                        server.app.runs[response.headers["X-Run-Id"]].cancel("test")

    first, last = chunks(body)
    assert first["chunk"] == "a"
    assert last["chunk_type"] == "error"
    assert last["metadata"] == {"code": "cancelled", "reason": "test"}
    assert data_lines(body)[-1] == b"[DONE]"


async def test_an_http_1_0_client_gets_a_body_that_the_end_of_the_connection_delimits(serve, post):
    async with serve({"demo": "CountOp()"}, *OPS) as server:
        with anyio.fail_after(5):
            answer = await server.exchange(post("/demo", version=b"1.0"))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert len(chunks(body)) == 3
    assert body.endswith(b"data:[DONE]\n\n")


async def test_streams_of_several_clients_do_not_mix(serve):
    class EchoOp(BaseAsyncOp):
        async def async_execute(self):
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
                await self.context.add_stream_chunk(FlowStreamChunk(chunk=self.context.name))

    results: dict[str, bytes] = {}
    async with serve({"echo": "EchoOp()"}, EchoOp) as server, httpx.AsyncClient() as client:

        async def call(name: str) -> None:
            response = await client.post(f"{server.url}/echo", json={"name": name})
            results[name] = response.content

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(call, f"client{number}")

    assert len(results) == 20
    for name, body in results.items():
        assert [chunk["chunk"] for chunk in chunks(body)] == [name] * 20
        assert len({chunk["flow_id"] for chunk in chunks(body)}) == 1
