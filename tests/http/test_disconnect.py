"""Clients that leave, and clients that do not read."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import httpx
import pytest

from flowcore import BaseAsyncOp, FlowStreamChunk
from flowcore_http import create_app

HEALTH = b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
Leave = Callable[[anyio.abc.SocketStream], Awaitable[None]]


class Watch:
    """What became of an op."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.emitted = 0
        self.ended = anyio.Event()
        self.endings = 0

    def op(self, *, chunk: str = "", pause: float | None = None) -> type[BaseAsyncOp]:
        """Return an op that emits ``chunk`` once, or for ever with pauses, and then waits."""
        watch = self

        class WatchedOp(BaseAsyncOp):
            async def async_execute(self):
                watch.started.set()
                try:
                    while chunk:
                        await self.context.add_stream_chunk(FlowStreamChunk(chunk=chunk))
                        watch.emitted += 1
                        if pause is None:
                            break
                        await anyio.sleep(pause)
                    await anyio.sleep_forever()
                finally:
                    watch.endings += 1
                    watch.ended.set()

        return WatchedOp


async def close(connection: anyio.abc.SocketStream) -> None:
    await connection.aclose()


async def half_close(connection: anyio.abc.SocketStream) -> None:
    await connection.send_eof()


async def reset(connection: anyio.abc.SocketStream) -> None:
    raw = connection.extra(anyio.abc.SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await connection.aclose()


@pytest.mark.parametrize("leave", [close, reset, half_close])
@pytest.mark.parametrize("chunk", ["", "hello"], ids=["before the first chunk", "mid-stream"])
async def test_a_client_that_leaves_cancels_its_run_at_once(serve, post, leave: Leave, chunk: str):
    watch = Watch()
    async with serve({"watched": "WatchedOp()"}, watch.op(chunk=chunk)) as server:
        connection = await server.connect()
        await connection.send(post("/watched"))
        with anyio.fail_after(5):
            received = b""
            while b":\n" not in received or chunk.encode() not in received:
                received += await connection.receive()
            await watch.started.wait()
        await leave(connection)

        with anyio.fail_after(5):
            await watch.ended.wait()
        await server.no_runs()
        await connection.aclose()

    assert watch.endings == 1


@pytest.mark.parametrize("leave", [close, reset])
async def test_a_client_that_leaves_cancels_a_run_that_does_not_stream(serve, post, leave: Leave):
    watch = Watch()
    flow = {"flow_content": "WatchedOp()"}
    async with serve({"watched": flow}, watch.op()) as server:
        connection = await server.connect()
        await connection.send(post("/watched"))
        with anyio.fail_after(5):
            await watch.started.wait()
        (run,) = server.app.runs.values()
        await leave(connection)

        with anyio.fail_after(5):
            await watch.ended.wait()
        await server.no_runs()

    assert watch.endings == 1
    assert run.cancel_reason == "client"


@pytest.mark.parametrize(
    ("leave", "stream"),
    [(close, True), (reset, True), (half_close, True), (close, False), (reset, False)],
)
async def test_that_a_client_left_is_noticed_without_delay(serve, post, leave: Leave, stream: bool):
    durations: list[float] = []
    watch = Watch()
    flow = {"flow_content": "WatchedOp()", "stream": stream}
    async with serve({"watched": flow}, watch.op()) as server:
        for _ in range(10):  # a busy machine makes some of them late
            watch.started, watch.ended = anyio.Event(), anyio.Event()
            async with await server.connect() as connection:
                await connection.send(post("/watched"))
                with anyio.fail_after(10):
                    await watch.started.wait()
                    left_at = time.monotonic()
                    await leave(connection)
                    await watch.ended.wait()
                durations.append(time.monotonic() - left_at)

    assert min(durations) < 0.02


async def test_a_client_that_leaves_during_its_upload_starts_no_run(serve):
    watch = Watch()
    async with serve({"watched": "WatchedOp()"}, watch.op()) as server:
        for _ in range(3):
            connection = await server.connect()
            await connection.send(
                b"POST /watched HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                b'Content-Length: 100\r\n\r\n{"query": '
            )
            await connection.aclose()
        async with httpx.AsyncClient() as client:
            response = await client.get(f"{server.url}/health")

        assert response.status_code == 200
        assert server.app.runs == {}
    assert not watch.started.is_set()


@pytest.mark.parametrize("leave", [close, reset, half_close])
@pytest.mark.parametrize("ahead", [b"G", HEALTH, b"\r\n", b"x" * 50_000])
async def test_a_client_that_sent_ahead_and_leaves_is_missed_at_once(
    serve, post, leave: Leave, ahead: bytes
):
    watch = Watch()
    # A connection that is idle would be closed as well.
    patient = {"heartbeat": 60, "keep_alive_timeout": 60}
    async with serve({"watched": "WatchedOp()"}, watch.op(), **patient) as server:
        await server.exchange(HEALTH)
        tasks_before = len(asyncio.all_tasks())
        connection = await server.connect()
        await connection.send(post("/watched") + ahead)
        with anyio.fail_after(5):
            await watch.started.wait()
        await leave(connection)

        with anyio.fail_after(5):
            await watch.ended.wait()
        await connection.aclose()
        with anyio.fail_after(10):
            while len(asyncio.all_tasks()) > tasks_before:
                await anyio.sleep(0.02)

    assert watch.endings == 1


async def test_a_client_that_sends_far_ahead_of_its_answer_is_disconnected(serve, post):
    watch = Watch()
    async with (
        serve({"watched": "WatchedOp()"}, watch.op()) as server,
        await server.connect() as connection,
    ):
        await connection.send(post("/watched"))
        with anyio.fail_after(5):
            await watch.started.wait()
            with suppress(anyio.BrokenResourceError):
                await connection.send(b"x" * 100_000)
            await watch.ended.wait()

    assert watch.endings == 1


async def test_a_client_that_leaves_while_the_app_does_not_read_its_upload_is_missed(serve, post):
    watch = Watch()
    # A connection that is idle would be closed as well.
    patient = {"heartbeat": 60, "keep_alive_timeout": 60}
    async with serve({"watched": "WatchedOp()"}, watch.op(), **patient) as server:
        await server.exchange(HEALTH)
        tasks_before = len(asyncio.all_tasks())
        connection = await server.connect()
        # Refused at once, but the body goes on.
        await connection.send(post("/nowhere", b"x" * 10_000)[:-9_000])
        with anyio.fail_after(10):
            assert (await connection.receive()).startswith(b"HTTP/1.1 404 ")
        await reset(connection)

        with anyio.fail_after(10):
            while len(asyncio.all_tasks()) > tasks_before:
                await anyio.sleep(0.02)

    assert not watch.started.is_set()


async def test_a_client_that_does_not_read_suspends_the_op(serve, post):
    watch = Watch()
    op = watch.op(chunk="x" * 10_000, pause=0)
    async with serve({"watched": "WatchedOp()"}, op) as server:
        connection = await server.connect()
        raw = connection.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await connection.send(post("/watched"))
        emitted = -1
        with anyio.fail_after(20):
            while emitted != watch.emitted or emitted <= 50:
                emitted = watch.emitted
                await anyio.sleep(0.3)
        await connection.aclose()
        with anyio.fail_after(10):
            await watch.ended.wait()

    # The run's own megabyte, the kernel's two buffers, and the server's.
    assert 50 < emitted < 1000


async def test_a_client_that_reads_slowly_gets_everything_in_order(serve, post):
    class LongOp(BaseAsyncOp):
        async def async_execute(self):
            for number in range(1000):
                await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"{number:<5000}"))

    async with serve({"long": "LongOp()"}, LongOp) as server, await server.connect() as connection:
        await connection.send(post("/long", b"{}", b"Connection: close"))
        body = bytearray()
        pauses = 0
        with anyio.fail_after(20), suppress(anyio.EndOfStream):
            while True:
                body += await connection.receive()
                if pauses < 50:
                    pauses += 1
                    await anyio.sleep(0.01)

    numbers = [int(number) for number in re.findall(rb'"chunk":"(\d+)', body)]
    assert numbers == list(range(1000))
    assert body.count(b"data:[DONE]\n\n") == 1


async def test_many_clients_that_leave_at_once_leave_nothing_behind(serve, post):
    watch = Watch()
    async with serve({"watched": "WatchedOp()"}, watch.op(chunk="x")) as server:
        await server.exchange(HEALTH)
        tasks_before = len(asyncio.all_tasks())
        for _ in range(10):
            connections = [await server.connect() for _ in range(20)]
            for number, connection in enumerate(connections):
                await connection.send(post("/watched")[: 60 + number * 10])
                await connection.aclose()
        assert b"healthy" in await server.exchange(HEALTH)
        await server.no_runs()
        with anyio.fail_after(5):
            while len(asyncio.all_tasks()) > tasks_before:
                await anyio.sleep(0.02)

        assert server.app.runs == {}


async def test_a_call_that_the_server_cancels_leaves_no_task_and_no_run(make_app):
    watch = Watch()
    app = make_app({"watched": "WatchedOp()"}, watch.op())
    body = [{"type": "http.request", "body": b"{}", "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if body:
            return body.pop()
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.1"}, "http_version": "1.1",
        "method": "POST", "scheme": "http", "path": "/watched", "raw_path": b"/watched",
        "query_string": b"", "root_path": "", "client": None, "server": None, "extensions": {},
        "headers": [(b"host", b"t"), (b"content-type", b"application/json")],
    }  # fmt: skip
    async with app:
        quart = create_app(app)
        before = asyncio.all_tasks()
        call = asyncio.create_task(quart(scope, receive, send))
        with anyio.fail_after(5):
            await watch.started.wait()
            call.cancel()
            await asyncio.wait([call])
            left = {task.get_name() for task in asyncio.all_tasks() - before}
            await watch.ended.wait()

        assert {name for name in left if not name.startswith("flowcore run")} == set()
        await anyio.lowlevel.checkpoint()
    assert app.runs == {}
    assert watch.endings == 1
