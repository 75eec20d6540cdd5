"""A server with its upstream and its clients, all in one event loop, and what they hold."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio

from flowcore import (
    BaseAsyncOp,
    ChunkEnum,
    FlowApp,
    Message,
    Op,
    Registrar,
    Role,
    Run,
    hookimpl,
)
from flowcore_http import HttpSettings, create_app
from flowcore_http.inflight import InFlight
from flowcore_http.listener import listen
from flowcore_http.server import in_flight
from flowcore_http.servers import server_of
from flowcore_http.telemetry import metrics_of
from tests.faults.client import RESET_ON_CLOSE
from tests.plugins.openai.upstream import DONE, HANG, Upstream, Wait, delta, finish, sse, usage
from tests.servers import SERVER

TEXT = (delta("One "), Wait(0), delta("two."), Wait(0))
REPLIES = {"ends": sse(*TEXT, finish(), usage(1, 2), DONE), "hangs": sse(*TEXT, HANG)}
FLOWS = {
    "stream": {"flow_content": "AskOp()", "stream": True},
    "patient": {"flow_content": "AskOp()", "stream": True, "on_disconnect": {"grace": 0.001}},
    "endless": {"flow_content": "AskOp(llm='hangs')", "stream": True},
    "whole": {"flow_content": "AskOp()"},
}


class AskOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        async for chunk in self.llm.astream_chat([Message(role=Role.USER, content="Hello")]):
            if chunk.chunk_type is ChunkEnum.ANSWER:
                await self.context.add_stream_chunk(chunk)


@dataclass
class Watcher:
    """A plugin that brings the op and counts what begins and ends."""

    events: Counter[str] = field(default_factory=Counter[str])

    @hookimpl
    def flowcore_register_ops(self, ops: Registrar[Op]) -> None:
        ops.add(AskOp)

    @hookimpl
    def flowcore_run_started(self, run: Run) -> None:
        self.events["runs"] += 1

    @hookimpl
    def flowcore_run_finished(self, run: Run) -> None:
        self.events["runs"] -= 1
        self.events[run.state] += 1

    @hookimpl
    def flowcore_op_started(self, op: Op) -> None:
        self.events["ops"] += 1

    @hookimpl
    def flowcore_op_finished(self, op: Op) -> None:
        self.events["ops"] -= 1


@dataclass
class House:
    """A server and its upstream.

    Attributes:
        port: Port of the server.
        app: Its app.
        requests: Its requests in progress.
        upstream: The upstream.
        watcher: What was observed of its runs.
    """

    port: int
    app: FlowApp
    requests: InFlight
    upstream: Upstream
    watcher: Watcher
    running: Callable[[], float]
    tasks: int = 99

    def held(self) -> dict[str, float]:
        """Return what is held for requests, without what is not."""
        held = {
            "runs": len(self.app.runs),
            "requests": self.requests.count,
            "running": self.running(),
            "unfinished runs": self.watcher.events["runs"],
            "unfinished ops": self.watcher.events["ops"],
            "upstream requests": self.upstream.answering,
            "tasks": self.spare_tasks() - self.tasks,
        }
        return {what: number for what, number in held.items() if number > 0}

    def spare_tasks(self) -> int:
        """Count the tasks, without those that serve the connections of the upstream."""
        return len(asyncio.all_tasks()) - self.upstream.open_connections

    async def settle(self) -> None:
        """Wait until nothing is held any more."""
        began = time.monotonic()
        while held := self.held():
            assert time.monotonic() < began + 10, held
            await asyncio.sleep(0.0005)


@asynccontextmanager
async def open_house() -> AsyncGenerator[House]:
    async with Upstream() as upstream:
        for model, reply in REPLIES.items():
            upstream.on(model, reply)
        # With one connection, one that is lost is missed by the next request.
        model = {
            "backend": "openai_compatible",
            "base_url": upstream.base_url,
            "max_connections": 1,
            "connect_timeout": 5,
            "max_retries": 0,
        }
        models = {
            "default": {**model, "model_name": "ends"},
            "hangs": {**model, "model_name": "hangs"},
        }
        watcher = Watcher()
        app = FlowApp({"flow": FLOWS, "llm": models}, plugins=[watcher])
        settings = HttpSettings(port=0, server=SERVER)
        stop = asyncio.Event()
        with listen(settings) as sock:
            port: int = sock.getsockname()[1]
            async with app, anyio.create_task_group() as tasks:
                quart = create_app(app, settings)
                tasks.start_soon(server_of(settings), quart, sock, stop.wait)
                house = House(port, app, in_flight(quart), upstream, watcher, running_gauge(quart))
                yield house
                stop.set()


def running_gauge(quart: object) -> Callable[[], float]:
    metrics = metrics_of(quart)
    assert metrics is not None

    gauge = metrics._running
    return lambda: sum(sample.value for family in gauge.collect() for sample in family.samples)


class Client:
    """Sends a request and reads what comes, until it leaves or nothing more will come.

    Args:
        port: Port of the server.
        request: What to send.
        leave: How to leave.
        limit: After how many bytes to leave.

    Attributes:
        received: What has come.
        ended: Set when the answer is whole, or as much of it as there will be, or was cut.
        left: Whether the client has left before that.
    """

    def __init__(self, port: int, request: bytes, leave: Leave, limit: int = 1 << 20) -> None:
        self.received = b""
        self.ended = asyncio.Event()
        self.left = False
        self._leave = leave
        self._limit = limit
        self._is_endless = request.startswith(b"POST /endless ")
        self._loop = asyncio.get_running_loop()
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.sock.sendall(request)
        self._loop.add_reader(self.sock, self.read)

    def read(self) -> None:
        with suppress(BlockingIOError):
            while len(self.received) < self._limit and not self.ended.is_set():
                data = self.sock.recv(self._limit - len(self.received))
                self.received += data
                if not data or self._is_all():
                    self.ended.set()
        if len(self.received) == self._limit:
            self.leave()

    def _is_all(self) -> bool:
        if b"application/json" in self.received:
            return self.received.endswith(b"}")
        return self.received.endswith(b"\r\n0\r\n\r\n") or (
            self._is_endless and b'"two."' in self.received
        )

    def leave(self) -> None:
        """Leave, unless that is all."""
        if not self.ended.is_set():
            self.left = True
            self._loop.remove_reader(self.sock)
            self._leave(self.sock)
            self.ended.set()

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            self._loop.remove_reader(self.sock)
            self.sock.close()


Leave = Callable[[socket.socket], object]


def close(sock: socket.socket) -> None:
    # With something unread, the system would reset the connection.
    with suppress(BlockingIOError):
        while sock.recv(65536):
            pass
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()


def half_close(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def request(flow: str) -> bytes:
    return (
        f"POST /{flow} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        "Content-Length: 2\r\n\r\n{}"
    ).encode()
