"""Connections: how many there may be, and what becomes of them."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import re
import socket
import struct
import sys
import tracemalloc
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import h11
import pytest
from anyio.streams.text import TextReceiveStream
from quart import Quart

from flowcore import BaseAsyncOp, FlowStreamChunk
from flowcore_http import HttpSettings, create_app
from flowcore_http.accepting import RESERVE
from flowcore_http.access import note_refusal
from flowcore_http.answer import Answer
from flowcore_http.connection import Connection
from flowcore_http.connections import Connections, server_config
from flowcore_http.descriptors import SPARE, connections_within_limit
from flowcore_http.listener import listen
from tests.servers import SERVER

HEALTH = b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
KEPT = HEALTH.replace(b"Connection: close\r\n", b"")


class WaitOp(BaseAsyncOp):
    """Streams one chunk and waits."""

    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="first"))
        await anyio.sleep_forever()


FLOWS = {"wait": "WaitOp()"}


async def hold(stack: AsyncExitStack, server, post, count: int) -> None:
    """Open streams, which stay until the stack is left."""
    for _ in range(count):
        connection = await stack.enter_async_context(await server.connect())
        await connection.send(post("/wait"))
        received = b""
        while b"first" not in received:
            received += await connection.receive()


async def test_beyond_the_limit_requests_are_refused_at_once_and_health_is_answered(
    serve, post, caplog
):
    async with serve(FLOWS, WaitOp, max_connections=3) as server:
        with anyio.fail_after(10):
            async with AsyncExitStack() as stack:
                await hold(stack, server, post, 3)
                refused = await server.exchange(post("/wait"))
                health = await server.exchange(KEPT)
                malformed = await server.exchange(b"nonsense\r\n\r\n")
                assert len(server.app.runs) == 3
            await server.no_runs()
            served = await server.exchange(HEALTH)
            async with AsyncExitStack() as stack:
                await hold(stack, server, post, 3)

    head, _, body = refused.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head
    assert b"connection: close" in head
    assert b'"code":"too_many_connections"' in body
    assert b"healthy" in health
    assert b"connection: close" in health.lower()
    assert malformed.startswith(b"HTTP/1.1 400 ")
    assert served.startswith(b"HTTP/1.1 200 ")
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == ["all 3 connections (http.max_connections) are in use"]


async def test_the_refusal_of_a_large_upload_reaches_its_client(serve, post):
    async with serve(FLOWS, WaitOp, max_connections=1) as server:
        with anyio.fail_after(10):
            async with AsyncExitStack() as stack:
                await hold(stack, server, post, 1)
                async with await server.connect() as connection:
                    await connection.send(post("/wait", b" " * 3_000_000))
                    answer = await connection.receive()

    assert answer.startswith(b"HTTP/1.1 503 ")


async def test_what_a_client_uploads_while_it_reads_a_stream_is_not_kept(serve, post):
    head = b"GET /runs/%s/events HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    async with serve(FLOWS, WaitOp) as server:
        with anyio.fail_after(20):
            async with AsyncExitStack() as stack:
                await hold(stack, server, post, 1)
                (run_id,) = server.app.runs
                reader = await stack.enter_async_context(await server.connect())
                await reader.send(head % run_id.encode())
                assert b"200" in await reader.receive()
                tracemalloc.start()
                stack.callback(tracemalloc.stop)
                for _ in range(200):
                    await reader.send(piece)
                kept, _ = tracemalloc.get_traced_memory()
            await server.no_runs()

    assert kept < 20 * len(piece)


async def test_health_is_answered_also_when_silent_clients_have_taken_the_reserve(serve, post):
    async with serve(FLOWS, WaitOp, max_connections=1) as server:
        with anyio.fail_after(10):
            async with AsyncExitStack() as stack:
                await hold(stack, server, post, 1)
                for _ in range(RESERVE + 5):
                    await stack.enter_async_context(await server.connect())
                assert b"healthy" in await server.exchange(HEALTH)


async def test_clients_that_come_and_go_leave_nothing_behind(serve, post):
    async with serve(FLOWS, WaitOp, max_connections=500) as server:
        await server.exchange(HEALTH)
        await asyncio.sleep(0.6)
        tasks_before, files_before = len(asyncio.all_tasks()), open_files()
        requests = [b"", b"G", KEPT, post("/wait"), post("/wait")[:70], post("/none") * 2]
        for number in range(2000):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.setblocking(False)
                client.send(requests[number % 6] or b"\n")
                if number % 2:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if number % 10 == 0:
                await anyio.sleep(0.005)
        with anyio.fail_after(20):
            assert b"healthy" in await server.exchange(HEALTH)
        await server.no_runs()
        with anyio.fail_after(20):
            while len(asyncio.all_tasks()) > tasks_before or open_files() > files_before:
                await anyio.sleep(0.05)

    assert server.app.runs == {}


async def test_an_upload_that_is_reset_while_it_waits_for_the_app_leaves_nothing_behind(serve):
    has_much = asyncio.Event()

    async def read_late(scope: Any, receive: Any, send: Any) -> None:
        while len(receive.__self__._body) <= 64 * 1024:
            await anyio.sleep(0.001)
        has_much.set()
        with anyio.move_on_after(0.5):  # a server that reads nothing does not see the client leave
            while not receive.__self__._left:
                await anyio.sleep(0.001)

    async with serve(FLOWS, WaitOp) as server:
        await server.exchange(HEALTH)
        tasks_before = len(asyncio.all_tasks())
        server.quart.asgi_app = read_late
        with anyio.fail_after(5):
            async with await server.connect() as client:
                await client.send(
                    b"POST /wait HTTP/1.1\r\nHost: t\r\nContent-Length: 131072\r\n\r\n"
                )
                await client.send(bytes(131072))
                await has_much.wait()
                reset(client)
            while len(asyncio.all_tasks()) > tasks_before:
                await anyio.sleep(0.01)


async def test_requests_need_no_collector_to_be_freed_when_their_connections_have_ended(serve):
    def count() -> int:
        return sum(isinstance(each, (Answer, Connection)) for each in gc.get_objects())

    async with serve(FLOWS, WaitOp) as server:
        await server.exchange(HEALTH)
        gc.collect()
        gc.disable()
        before = count()
        try:
            for _ in range(5):
                await server.exchange(HEALTH)
                async with await server.connect() as client:
                    await client.send(KEPT)
                    await client.receive()
                    reset(client)
            with anyio.fail_after(5):
                # A timer that all requests share knows the context of the one that began it.
                while count() > before + 2:
                    await anyio.sleep(0.05)
        finally:
            gc.enable()


def reset(client: anyio.abc.SocketStream) -> None:
    """Close a connection so that the other end sees a reset."""
    raw = client.extra(anyio.abc.SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream: Any = client
    stream._transport.abort()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ETIMEDOUT, "write_timeout"),
        (errno.EHOSTUNREACH, "client"),
        (errno.ENETDOWN, "client"),
        (errno.EPIPE, "client"),
        (errno.ECONNRESET, "client"),
    ],
    ids=errno.errorcode.get,
)
async def test_a_network_that_fails_ends_one_run_without_a_word(
    make_app, post, caplog, code, reason
):
    app = make_app(FLOWS, WaitOp)
    settings = HttpSettings(port=0)
    async with app, anyio.create_task_group() as tasks:
        with listen(settings) as sock:
            port = sock.getsockname()[1]
            connections = connections_of(create_app(app, settings), settings)
            tasks.start_soon(connections.acceptor.accept, sock)
            async with await anyio.connect_tcp("127.0.0.1", port) as client:
                await client.send(post("/wait"))
                with anyio.fail_after(5):
                    assert (await client.receive()).startswith(b"HTTP/1.1 200 ")
                [run] = app.runs.values()
                is_ours = isinstance(connections, Connections)
                [protocol] = connections._open.values() if is_ours else connections._open
                transport: Any = protocol.transport
                # As asyncio itself does where a system call fails.
                transport._fatal_error(OSError(code, os.strerror(code)))
                with anyio.fail_after(10):
                    await run.wait()
                    while connections:
                        await anyio.sleep(0.01)
                assert run.cancel_reason == reason
            tasks.cancel_scope.cancel()

    assert caplog.records == []


def connections_of(quart: Quart, settings: HttpSettings) -> Any:
    """Return the connections of the server that is tested."""
    if SERVER == "hypercorn":
        return Connections(quart, server_config(settings), note_refusal)
    from flowcore_http.uvicorn_server import UvicornConnections

    return UvicornConnections(quart, settings, None, note_refusal)


async def test_a_fault_of_our_own_ends_its_own_connection_only(serve, post, monkeypatch, caplog):
    def fail(request: h11.Request) -> None:
        if request.target == b"/fail\\":
            raise RuntimeError("no\nluck")

    checks = {
        "hypercorn": "flowcore_http.connections.fault_of_head",
        "uvicorn": "flowcore_http.uvicorn_server.fault_of_whole",
    }
    monkeypatch.setattr(checks[SERVER], fail)
    async with serve(FLOWS, WaitOp) as server, AsyncExitStack() as stack:
        with anyio.fail_after(5):
            await hold(stack, server, post, 1)
            assert await server.exchange(post("/fail\\")) == b""
            assert b"healthy" in await server.exchange(HEALTH)
        assert len(server.app.runs) == 1

    [record] = caplog.records
    assert record.getMessage() == r"a connection failed: (RuntimeError('no\nluck'),)"


async def test_a_fault_of_our_own_is_told_also_when_the_client_has_left(
    serve, post, monkeypatch, caplog
):
    async def fail(*_: object) -> None:
        raise ValueError("no luck")

    monkeypatch.setattr("flowcore_http.heartbeat.Heartbeat.end", fail)
    async with serve(FLOWS, WaitOp) as server:
        with anyio.fail_after(5):
            async with AsyncExitStack() as stack:
                await hold(stack, server, post, 1)
            while not caplog.records:
                await anyio.sleep(0.01)

    [record] = caplog.records
    assert record.getMessage() == "a request failed"
    assert isinstance(record.exc_info[1], ValueError)


async def test_an_answer_that_fails_as_it_begins_ends_its_own_connection_only(serve, post, caplog):
    async def begin_and_fail(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("no luck")

    async with serve(FLOWS, WaitOp) as server:
        app = server.quart.asgi_app
        with anyio.fail_after(5):
            server.quart.asgi_app = begin_and_fail
            for request in (post("/wait"), post("/wait", b"{}").replace(b": 2\r\n", b": 3\r\n")):
                assert b"200" not in await server.exchange(request)
            server.quart.asgi_app = app
            assert b"healthy" in await server.exchange(HEALTH)

    assert len(caplog.records) == 2
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_a_limit_within_that_of_the_process_needs_no_word(caplog):
    assert connections_within_limit(10) == 10
    assert caplog.records == []


if sys.platform != "win32":
    import resource

    def test_too_few_files_are_told_and_lower_the_limit(caplog):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = hard if hard != resource.RLIM_INFINITY else 10**9

        possible = connections_within_limit(wanted)

        assert possible == resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert f"http.max_connections is {wanted}" in record.getMessage()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= soft


SERVICE = """
import os, resource, sys
import anyio
if sys.argv[1] == "asyncio":
    sys.modules["uvloop"] = None
from flowcore import BaseAsyncOp, C, FlowApp, FlowStreamChunk, hookimpl

def say(text):
    print(text, file=sys.stderr, flush=True)

@C.register_op()
class FloodOp(BaseAsyncOp):
    async def async_execute(self):
        try:
            while True:
                await self.context.add_stream_chunk(FlowStreamChunk(chunk="x" * 10_000))
        finally:
            say("flood ended")

@C.register_op()
class ScarceOp(BaseAsyncOp):
    async def async_execute(self):
        files = len(os.listdir("/proc/self/fd")) + 10
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        say("files are scarce")

class Reasons:
    @hookimpl
    def flowcore_run_finished(self, run):
        say(f"cancelled because of {run.cancel_reason}.")

FLOWS = {name: {"flow_content": f"{name.title()}Op()"} for name in ("flood", "scarce")}
FLOWS["flood"]["stream"] = True
HTTP = {"port": 0, "server": sys.argv[2], "write_timeout": 1, "heartbeat": 60}
app = FlowApp({"flow": FLOWS, "http": HTTP}, plugins=[Reasons()])
app.service().run(app)
"""


class Service:
    """A service in a process of its own, on one of the event loops."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.log = ""

    @property
    def files(self) -> int:
        """How many files it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def cpu_seconds(self) -> float:
        """How long it has been busy."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def port(self) -> int:
        return int(re.search(r"serving at http://127.0.0.1:(\d+)", self.log)[1])  # pyright: ignore[reportOptionalSubscript]

    async def logged(self, pattern: str) -> None:
        with anyio.fail_after(20):
            while not re.search(pattern, self.log):
                await anyio.sleep(0.01)

    async def exchange(self, data: bytes) -> bytes:
        received = b""
        async with await anyio.connect_tcp("127.0.0.1", self.port) as connection:
            await connection.send(data)
            with suppress(anyio.EndOfStream):
                while True:
                    received += await connection.receive()
        return received


@pytest.fixture(params=["asyncio", "uvloop"])
async def service(request, tmp_path):
    """Run the service on either event loop."""
    command = [sys.executable, "-c", SERVICE, request.param, SERVER]
    async with (
        await anyio.open_process(command, cwd=tmp_path) as process,
        anyio.create_task_group() as tasks,
    ):
        running = Service(process.pid)

        async def read_log() -> None:
            assert process.stderr is not None
            async for text in TextReceiveStream(process.stderr):
                running.log += text

        tasks.start_soon(read_log)
        try:
            await running.logged("serving at")
            yield running
        finally:
            process.kill()
            await process.wait()
            tasks.cancel_scope.cancel()
        assert "Traceback" not in running.log


if sys.platform == "linux":

    async def test_a_service_without_files_goes_on_when_there_are_some_again(service, post):
        with anyio.fail_after(20):
            await service.exchange(post("/scarce", b"{}", b"Connection: close"))
            async with AsyncExitStack() as stack:
                for _ in range(30):
                    connection = await anyio.connect_tcp("127.0.0.1", service.port)
                    await stack.enter_async_context(connection)
                    await connection.send(KEPT)
                await service.logged("cannot accept connections: .*Too many open files")
                # It pauses and does not spin.
                cpu_before = service.cpu_seconds
                await anyio.sleep(1)
                assert service.cpu_seconds - cpu_before < 0.3
            assert b"healthy" in await service.exchange(HEALTH)
        assert service.log.count("cannot accept") == 1

    async def test_a_client_that_stalls_is_disconnected_and_the_run_tells_why(service, post):
        await service.exchange(HEALTH)
        before = service.files
        async with await anyio.connect_tcp("127.0.0.1", service.port) as connection:
            raw = connection.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await connection.send(post("/flood"))
            await service.logged("flood ended")
            await service.logged(r"cancelled because of write_timeout\.")
            with anyio.fail_after(10):
                while service.files > before:
                    await anyio.sleep(0.02)
        assert b"healthy" in await service.exchange(HEALTH)

    async def test_a_client_that_leaves_is_no_client_that_stalls(service, post):
        async with await anyio.connect_tcp("127.0.0.1", service.port) as connection:
            await connection.send(post("/flood"))
            await connection.receive()
        await service.logged(r"cancelled because of client\.")
        assert service.log.count("cancelled because") == 1
