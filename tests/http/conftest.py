"""A real server for each test: Hypercorn on a socket from the kernel, in the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import hypercorn.asyncio
import pytest

from flowcore import FlowApp, load_config
from flowcore_http import HttpSettings, create_app
from flowcore_http.listener import listen
from flowcore_http.service import server_config


@pytest.fixture
def anyio_backend() -> str:
    """Quart and Hypercorn run on asyncio here."""
    return "asyncio"


@dataclass
class Server:
    """A running server."""

    url: str
    port: int
    app: FlowApp

    async def exchange(self, request: bytes) -> bytes:
        """Send bytes, and return what comes until the server closes."""
        received = b""
        async with await anyio.connect_tcp("127.0.0.1", self.port) as connection:
            await connection.send(request)
            while True:
                try:
                    received += await connection.receive()
                except anyio.EndOfStream:
                    return received


Serve = Callable[..., AbstractAsyncContextManager[Server]]


def make_app(flows: Mapping[str, Any]) -> FlowApp:
    """Return an app with these flows: an expression, or a whole config entry, for each name."""
    entries = {
        name: {"flow_content": flow, "stream": True} if isinstance(flow, str) else flow
        for name, flow in flows.items()
    }
    return FlowApp(load_config({"flow": entries}))


@pytest.fixture
def serve() -> Serve:
    """Return a context manager that serves flows: `serve({"demo": "DemoOp()"}, heartbeat=1)`."""

    @asynccontextmanager
    async def start(flows: Mapping[str, Any], **values: Any) -> AsyncGenerator[Server, None]:
        settings = HttpSettings(port=0, **values)
        app = make_app(flows)
        stop = anyio.Event()
        with listen(settings) as sock, anyio.CancelScope() as scope:
            port: int = sock.getsockname()[1]
            async with app, anyio.create_task_group() as tasks:
                config = server_config(settings, sock)
                quart = create_app(app, settings)

                async def run_server() -> None:
                    await hypercorn.asyncio.serve(quart, config, shutdown_trigger=stop.wait)

                tasks.start_soon(run_server)
                try:
                    yield Server(f"http://127.0.0.1:{port}", port, app)
                finally:
                    stop.set()
                    # From Python 3.12 on, Hypercorn waits for ever for open connections.
                    scope.deadline = anyio.current_time() + 3

    return start
