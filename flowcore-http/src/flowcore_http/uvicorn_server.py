"""The server uvicorn: its connections, accepted and closed by us."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from uvicorn.config import Config
from uvicorn.server import ServerState

from flowcore_http.accepting import (
    CLOSE_SECONDS,
    LOST_SECONDS,
    Acceptor,
    accept_until,
)
from flowcore_http.access import note_refusal
from flowcore_http.problem import HttpProblem
from flowcore_http.quart_connection import entry_of
from flowcore_http.request_head import fault_of_whole
from flowcore_http.rules import Rules, brief
from flowcore_http.servers import Server
from flowcore_http.settings import HttpSettings
from flowcore_http.telemetry import metrics_of
from flowcore_http.tls import tls_context, transport_options
from flowcore_http.uvicorn_http1 import Http1Protocol

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework

logger = logging.getLogger("flowcore.http")


def server(settings: HttpSettings) -> Server:
    """Return the server, ready to serve as the settings say.

    Raises:
        ConfigError: If the certificate or its key cannot be read.
    """
    return partial(_serve, settings, tls_context(settings))


async def _serve(
    settings: HttpSettings,
    tls: ssl.SSLContext | None,
    app: ASGIFramework,
    sock: socket.socket,
    stopped: Callable[[], Awaitable[object]],
    retired: Callable[[], Awaitable[object]] = anyio.sleep_forever,
) -> None:
    metrics = metrics_of(app)
    refused = partial(note_refusal, metrics=metrics)
    connections = UvicornConnections(app, settings, tls, refused)
    if metrics is not None:
        metrics.count_connections = connections.__len__
    await accept_until(stopped, connections, sock, retired)


class UvicornConnections:
    """The open connections of one server.

    Args:
        app: The ASGI app that answers their requests.
        settings: The settings of the service.
        tls: How connections are encrypted, if they are.
        refused: Called with what answers a request that the app never sees.

    Attributes:
        acceptor: Accepts them.
    """

    def __init__(
        self,
        app: Any,
        settings: HttpSettings,
        tls: ssl.SSLContext | None,
        refused: Callable[[HttpProblem], object],
    ) -> None:
        self._config = Config(
            app,
            http=Http1Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        self._config.load()
        self._rules = Rules(
            entry_of(app), settings.keep_alive_timeout, math.inf, fault_of_whole, refused
        )
        self._brief = brief(self._rules)
        self._tls = tls
        self._state = ServerState()
        self._loop = asyncio.get_running_loop()
        self.acceptor = Acceptor(settings.max_connections, self._begin)
        self._opening: set[asyncio.Task[None]] = set()
        self._open: set[Http1Protocol] = set()
        self._all_closed = asyncio.Event()

    def __len__(self) -> int:
        return self.acceptor.count

    def _begin(self, connection: socket.socket, is_beyond: bool) -> None:
        task = self._loop.create_task(self._open_one(connection, is_beyond))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open_one(self, connection: socket.socket, is_beyond: bool) -> None:
        protocol = Http1Protocol(
            self._brief if is_beyond else self._rules,
            self._forget,
            self._config,
            self._state,
            self._loop,
        )
        self._open.add(protocol)
        try:
            options = transport_options(self._tls)
            await self._loop.connect_accepted_socket(lambda: protocol, connection, **options)
        except OSError as error:
            logger.debug("a connection was lost: %r", error)
            connection.close()
            self._forget(protocol)
        except BaseException:
            connection.close()
            self._forget(protocol)
            raise

    def _forget(self, protocol: Http1Protocol) -> None:
        if protocol in self._open:
            self._open.remove(protocol)
            self.acceptor.release()
            if not self._open:
                self._all_closed.set()

    async def close(self, patience: float) -> None:
        """Close the idle connections, wait for the others, and abort those that take too long."""
        for task in self._opening:
            task.cancel()
        for protocol in tuple(self._open):
            protocol.shut_down()
        await self._finish(patience)
        for protocol in tuple(self._open):
            protocol.abort()
        await self._finish(LOST_SECONDS + CLOSE_SECONDS)

    async def _finish(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            while self._open:
                self._all_closed.clear()
                await self._all_closed.wait()
            while running := [task for task in self._rules.running if not task.done()]:
                await asyncio.wait(running)
