"""The connections of a server: accepted up to a limit, served, and closed without hanging.

Hypercorn's own ``serve`` has no limit, waits for ever for a client that does not read, and on
Python 3.12 and later for any client; here such connections are aborted.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import anyio
import h11
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework

from flowcore import ConfigError
from flowcore_http.accepting import (
    CLOSE_SECONDS,
    LOST_SECONDS,
    Acceptor,
    accept_until,
    fault_beyond_the_limit,
    reason_of_loss,
)
from flowcore_http.access import note_refusal
from flowcore_http.http1 import Http1Server
from flowcore_http.peer import Peer, current_peer
from flowcore_http.problem import HttpProblem
from flowcore_http.request_head import MAX_HEAD_BYTES, fault_of_head
from flowcore_http.servers import Server
from flowcore_http.settings import HttpSettings
from flowcore_http.telemetry import metrics_of
from flowcore_http.tls import transport_options

logger = logging.getLogger("flowcore.http")


class ServerConfig(Config):
    """Hypercorn's settings, and ours.

    Attributes:
        max_connections: Most connections at a time.
        refused: Called with what answers a request that the app never sees.
    """

    max_connections: int = 10_000
    refused: Callable[[HttpProblem], object] = staticmethod(note_refusal)


class Connections:
    """The open connections of one server.

    Args:
        app: The ASGI app that answers their requests.
        config: The settings of the server.
    """

    def __init__(self, app: ASGIFramework, config: ServerConfig) -> None:
        self._app = ASGIWrapper(app)
        self._config = config
        self._brief = copy.copy(config)
        self._brief.keep_alive_max_requests = 1
        self._brief.keep_alive_timeout = 1
        self._tls = config.create_ssl_context()
        self._context = WorkerContext(None)
        self._loop = asyncio.get_running_loop()
        self._acceptor = Acceptor(config.max_connections, self._begin)
        self._open: dict[asyncio.Task[None], _ConnectionProtocol] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def accept(
        self,
        sock: socket.socket,
        retired: Callable[[], Awaitable[object]] = anyio.sleep_forever,
    ) -> None:
        """Accept connections until ``retired()`` returns."""
        await self._acceptor.accept(sock, retired)

    def _begin(self, connection: socket.socket, is_beyond: bool) -> None:
        protocol = _ConnectionProtocol(self._loop)
        task = self._loop.create_task(self._serve(connection, protocol, is_beyond))
        protocol.serving = task
        self._open[task] = protocol
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._open[task]
        self._acceptor.release()

    async def _serve(
        self, connection: socket.socket, protocol: _ConnectionProtocol, is_beyond: bool
    ) -> None:
        current_peer.set(protocol.peer)
        try:
            writer = await self._open_stream(connection, protocol)
            server = Http1Server(
                protocol.peer,
                _fault_beyond_the_limit if is_beyond else fault_of_head,
                self._app,
                self._loop,
                self._brief if is_beyond else self._config,
                self._context,
                {},
                protocol.reader,
                writer,
            )
            protocol.end_idleness = server.idle_task.expire
            await server
        except* OSError as errors:
            logger.debug("a connection was lost: %r", errors.exceptions)
        # A fault of one connection is nothing to the others.
        except* Exception as errors:  # noqa: BLE001
            logger.warning("a connection failed: %r", errors.exceptions)

    async def _open_stream(
        self, connection: socket.socket, protocol: _ConnectionProtocol
    ) -> asyncio.StreamWriter:
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, connection, **transport_options(self._tls)
            )
        except BaseException:
            connection.close()
            raise
        return asyncio.StreamWriter(transport, protocol, protocol.reader, self._loop)

    async def close(self, patience: float) -> None:
        """Close the idle connections, wait for the others, and abort those that take too long."""
        await self._context.terminated.set()
        for protocol in tuple(self._open.values()):
            protocol.end_idleness()
        await self._finish(patience)
        for task, protocol in self._open.items():
            protocol.abort()
            if protocol.transport is None:
                task.cancel()
        await self._finish(LOST_SECONDS + CLOSE_SECONDS)

    async def _finish(self, seconds: float) -> None:
        if self._open:
            await asyncio.wait(list(self._open), timeout=seconds)


class _ConnectionProtocol(asyncio.StreamReaderProtocol):
    """Knows why a connection was lost, and ends what serves it soon after.

    That ends by itself, save where it waits for an app that reads no further.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reader = asyncio.StreamReader(loop=loop)
        super().__init__(self.reader, loop=loop)
        self.peer = Peer()
        self.serving: asyncio.Task[None] | None = None
        self.end_idleness: Callable[[], object] = _nothing
        self.transport: asyncio.Transport | None = None
        self._event_loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.peer.lost = reason_of_loss(exc)
        super().connection_lost(exc)
        if self.serving is not None and not self.serving.done():
            self._event_loop.call_later(LOST_SECONDS, self.serving.cancel)

    def abort(self) -> None:
        """Close the connection at once."""
        if self.transport is not None:
            self.transport.abort()


def _fault_beyond_the_limit(request: h11.Request) -> HttpProblem | None:
    return fault_of_head(request) or fault_beyond_the_limit(request.target)


async def serve(
    app: ASGIFramework,
    config: ServerConfig,
    sock: socket.socket,
    stopped: Callable[[], Awaitable[object]],
    retired: Callable[[], Awaitable[object]] = anyio.sleep_forever,
) -> None:
    """Serve ``app`` on a listening socket until ``stopped()`` returns, then close all connections.

    When ``retired()`` returns, no more connections are accepted.

    No lifespan events are sent. When this is cancelled, connections are aborted at once.
    """
    metrics = metrics_of(app)
    config.refused = partial(note_refusal, metrics=metrics)
    connections = Connections(app, config)
    if metrics is not None:
        metrics.count_connections = connections.__len__
    await accept_until(stopped, connections, sock, retired)


def server(settings: HttpSettings) -> Server:
    """Return the server, ready to serve as the settings say.

    Raises:
        ConfigError: If the certificate or its key cannot be read.
    """
    config = server_config(settings)

    async def run(
        app: ASGIFramework,
        sock: socket.socket,
        stopped: Callable[[], Awaitable[object]],
        retired: Callable[[], Awaitable[object]] = anyio.sleep_forever,
    ) -> None:
        await serve(app, config, sock, stopped, retired)

    return run


def server_config(settings: HttpSettings) -> ServerConfig:
    """Return the settings of a server: TLS where it is configured, no access log.

    Raises:
        ConfigError: If the certificate or its key cannot be read.
    """
    config = ServerConfig()
    config.max_connections = settings.max_connections
    config.keep_alive_timeout = settings.keep_alive_timeout  # pyright: ignore[reportAttributeAccessIssue]
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.accesslog = None
    config.errorlog = logging.getLogger("flowcore.http.server")
    config.include_server_header = False
    config.alpn_protocols = ["http/1.1"]
    if settings.certfile is not None and settings.keyfile is not None:
        config.certfile = str(settings.certfile)
        config.keyfile = str(settings.keyfile)
        try:
            config.create_ssl_context()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"http.certfile, http.keyfile: {error}") from None
    return config


def _nothing() -> None:
    pass
