"""Hypercorn's HTTP/1.1 on a listening socket of ours, with an end that cannot hang.

Hypercorn's own ``serve`` waits for ever for a client that does not read, and on Python 3.12 and
later for any client; here such connections are aborted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework

from flowcore import ConfigError
from flowcore_http.settings import HttpSettings

CLOSE_SECONDS = 2.0
"""How long connections may take to close before they are aborted."""

_LOST_SECONDS = 0.5
_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]

logger = logging.getLogger("flowcore.http")


class Connections:
    """The open connections of one server.

    Args:
        app: The ASGI app that answers their requests.
        config: Hypercorn's settings.
    """

    def __init__(self, app: ASGIFramework, config: Config) -> None:
        self._app = ASGIWrapper(app)
        self._config = config
        self._context = WorkerContext(None)
        self._loop = asyncio.get_running_loop()
        self._open: dict[asyncio.Task[object], asyncio.StreamWriter] = {}

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return _ConnectionProtocol(self._loop, self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        self._open[task] = writer
        try:
            await TCPServer(self._app, self._loop, self._config, self._context, {}, reader, writer)
        except* OSError as errors:
            logger.debug("a connection was lost: %r", errors.exceptions)
        # Hypercorn stumbles over some malformed HTTP/2; that must not fill the log.
        except* Exception as errors:  # noqa: BLE001
            logger.warning("a connection failed: %r", errors.exceptions)
        finally:
            del self._open[task]

    async def close(self, patience: float) -> None:
        """Close the idle connections, wait for the others, and abort those that take too long."""
        await self._context.terminated.set()
        await self._finish(patience)
        for writer in self._open.values():
            writer.transport.abort()
        await self._finish(_LOST_SECONDS + CLOSE_SECONDS)

    async def _finish(self, seconds: float) -> None:
        if self._open:
            await asyncio.wait(list(self._open), timeout=seconds)


class _ConnectionProtocol(asyncio.StreamReaderProtocol):
    """Ends what serves a connection soon after the connection was lost.

    Hypercorn ends by itself, save where a client had sent the beginning of another request:
    then it would wait for ever for a sign to read on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, serve: _Serve) -> None:
        super().__init__(asyncio.StreamReader(loop=loop), self._run, loop=loop)
        self._event_loop = loop
        self._serve = serve
        self._serving: asyncio.Task[object] | None = None

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving = asyncio.current_task()
        # Nobody awaits this task, and asyncio complains about one that was cancelled.
        with suppress(asyncio.CancelledError):
            await self._serve(reader, writer)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._serving is not None and not self._serving.done():
            self._event_loop.call_later(_LOST_SECONDS, self._serving.cancel)


async def serve(
    app: ASGIFramework,
    config: Config,
    sock: socket.socket,
    stopped: Callable[[], Awaitable[object]],
) -> None:
    """Serve ``app`` on a listening socket until ``stopped()`` returns, then close all connections.

    No lifespan events are sent. When this is cancelled, connections are aborted at once.
    """
    connections = Connections(app, config)
    server = await asyncio.get_running_loop().create_server(
        connections.protocol,
        sock=sock,
        backlog=config.backlog,
        ssl=config.create_ssl_context(),
    )
    patience = 0.0
    try:
        await stopped()
        patience = CLOSE_SECONDS
    finally:
        server.close()
        with anyio.CancelScope(shield=True):
            await connections.close(patience)


def server_config(settings: HttpSettings) -> Config:
    """Return Hypercorn's settings: HTTP/1.1 only, TLS where it is configured, no access log.

    Raises:
        ConfigError: If the certificate or its key cannot be read.
    """
    config = Config()
    config.backlog = settings.backlog
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
