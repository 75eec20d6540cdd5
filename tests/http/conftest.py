"""A real server for each test, on a socket from the kernel, in the test's own loop.

``TEST_SERVER=uvicorn`` runs the tests on that server instead of the default one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from quart import Quart

from flowcore import FlowApp, Op, Registrar, hookimpl, load_config
from flowcore_http import HttpSettings, create_app
from flowcore_http.listener import listen
from flowcore_http.servers import server_of
from tests.servers import SERVER


@pytest.fixture
def anyio_backend() -> str:
    """Quart and Hypercorn run on asyncio here."""
    return "asyncio"


@dataclass(eq=False)
class OpsPlugin:
    """A plugin that registers the ops of one test."""

    ops: Iterable[type[Op]]

    @hookimpl
    def flowcore_register_ops(self, ops: Registrar[Op]) -> None:
        for op in self.ops:
            ops.add(op)


MakeApp = Callable[..., FlowApp]


@pytest.fixture
def make_app() -> MakeApp:
    """Return a function: `make_app({"demo": "DemoOp()"}, DemoOp)`; bare expressions stream."""

    def make(
        flows: Mapping[str, Any], *ops: type[Op], config: Mapping[str, Any] | None = None
    ) -> FlowApp:
        entries = {
            name: {"flow_content": flow, "stream": True} if isinstance(flow, str) else flow
            for name, flow in flows.items()
        }
        return FlowApp(load_config({"flow": entries, **(config or {})}), plugins=[OpsPlugin(ops)])

    return make


@dataclass
class Server:
    """A running server."""

    url: str
    port: int
    app: FlowApp
    quart: Quart

    async def connect(self) -> anyio.abc.SocketStream:
        """Return a connection to write bytes to."""
        return await anyio.connect_tcp("127.0.0.1", self.port)

    async def exchange(self, request: bytes) -> bytes:
        """Send bytes, and return what comes until the server closes."""
        received = b""
        async with await self.connect() as connection:
            await connection.send(request)
            while True:
                try:
                    received += await connection.receive()
                except anyio.EndOfStream:
                    return received

    async def no_runs(self) -> None:
        """Wait until the app has no run left."""
        with anyio.fail_after(10):
            while self.app.runs:
                await next(iter(self.app.runs.values())).wait()
                await anyio.lowlevel.checkpoint()


Serve = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture
def serve(make_app: MakeApp) -> Serve:
    """Return a context manager: `async with serve({"demo": "DemoOp()"}, DemoOp, heartbeat=1)`."""

    @asynccontextmanager
    async def start(
        flows: Mapping[str, Any],
        *ops: type[Op],
        config: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> AsyncGenerator[Server, None]:
        settings = HttpSettings(port=0, server=SERVER, **values)
        app = make_app(flows, *ops, config=config or {})
        stop = anyio.Event()
        with listen(settings) as sock:
            port: int = sock.getsockname()[1]
            async with app, anyio.create_task_group() as tasks:
                quart = create_app(app, settings)
                tasks.start_soon(server_of(settings), quart, sock, stop.wait)
                try:
                    yield Server(f"http://127.0.0.1:{port}", port, app, quart)
                finally:
                    stop.set()

    return start


def post(path: str, body: bytes = b"{}", *headers: bytes, version: bytes = b"1.1") -> bytes:
    """Return the bytes of a POST request with a JSON body."""
    lines = [
        b"POST %s HTTP/%s" % (path.encode(), version),
        b"Host: test",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.fixture(name="post")
def post_fixture() -> Callable[..., bytes]:
    """Return :func:`post`."""
    return post
