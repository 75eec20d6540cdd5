"""The connections of a server: accepted up to a limit, served, and closed without hanging.

Hypercorn's own ``serve`` has no limit, waits for ever for a client that does not read, and on
Python 3.12 and later for any client; here such connections are aborted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework

from flowcore import ConfigError
from flowcore_http.accepting import (
    CLOSE_SECONDS,
    LOST_SECONDS,
    Acceptor,
    accept_until,
)
from flowcore_http.access import note_refusal
from flowcore_http.http1 import Http1Connection, Http1Server
from flowcore_http.problem import HttpProblem
from flowcore_http.quart_connection import entry_of
from flowcore_http.request_head import MAX_HEAD_BYTES, fault_of_head
from flowcore_http.rules import Rules, brief
from flowcore_http.servers import Server
from flowcore_http.settings import HttpSettings
from flowcore_http.telemetry import metrics_of
from flowcore_http.tls import transport_options

logger = logging.getLogger("flowcore.http")


class ServerConfig(Config):
    """Hypercorn's settings, and ours.

    Attributes:
        max_connections: Most connections at a time.
    """

    max_connections: int = 10_000


class Connections:
    """The open connections of one server.

    Args:
        app: The ASGI app that answers their requests.
        config: The settings of the server.
        refused: Called with what answers a request that the app never sees.

    Attributes:
        acceptor: Accepts them.
    """

    def __init__(
        self,
        app: ASGIFramework,
        config: ServerConfig,
        refused: Callable[[HttpProblem], object],
    ) -> None:
        self._config = config
        self._rules = Rules(
            entry_of(app),
            config.keep_alive_timeout,
            config.keep_alive_max_requests,
            fault_of_head,
            refused,
        )
        self._brief = brief(self._rules)
        self._tls = config.create_ssl_context()
        self._loop = asyncio.get_running_loop()
        self.acceptor = Acceptor(config.max_connections, self._begin)
        self._open: dict[asyncio.Task[None], Http1Connection] = {}

    def __len__(self) -> int:
        return len(self._open)

    def _begin(self, connection: socket.socket, is_beyond: bool) -> None:
        served = Http1Connection(self._brief if is_beyond else self._rules, self._loop)
        protocol = _ConnectionProtocol(served, self._loop)
        task = self._loop.create_task(self._serve(connection, protocol))
        self._open[task] = served
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._open[task]
        self.acceptor.release()

    async def _serve(self, connection: socket.socket, protocol: _ConnectionProtocol) -> None:
        try:
            writer = await self._open_stream(connection, protocol)
            await Http1Server(
                protocol.served,
                *(self._rules.app, self._loop, self._config, None, {}),
                *(protocol.reader, writer),
            )
        except OSError as error:
            logger.debug("a connection was lost: %r", error)
            # The reader keeps it, and with its traceback the reader would keep the connection.
            error.__traceback__ = None
        # A fault of one connection is nothing to the others.
        except Exception as error:  # noqa: BLE001
            logger.warning("a connection failed: %r", (error,))

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
        for served in tuple(self._open.values()):
            served.shut_down()
        await self._finish(patience)
        for task, served in self._open.items():
            served.abort()
            if served.transport is None:
                task.cancel()
        await self._finish(LOST_SECONDS + CLOSE_SECONDS)

    async def _finish(self, seconds: float) -> None:
        if waiting := [*self._open, *self._rules.running]:
            await asyncio.wait(waiting, timeout=seconds)


class _ConnectionProtocol(asyncio.StreamReaderProtocol):
    """Lets a connection know what the transport tells of it besides the bytes."""

    def __init__(self, served: Http1Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.served = served
        self.reader = asyncio.StreamReader(loop=loop)
        super().__init__(self.reader, loop=loop)
        # Who waits for the client to read waits in the connection, and an empty deque is large.
        vars(self).pop("_drain_waiters", None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.served.lose(exc)
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:
        if self.served.unread is not None:
            # Whoever reads the connection waits, and would not come to see that.
            self.served.lose()
        return super().eof_received()

    def pause_writing(self) -> None:
        self.served.pause_writing()

    def resume_writing(self) -> None:
        self.served.resume_writing()


def server(settings: HttpSettings) -> Server:
    """Return the server, ready to serve as the settings say.

    Raises:
        ConfigError: If the certificate or its key cannot be read.
    """
    return partial(_serve, server_config(settings))


async def _serve(
    config: ServerConfig,
    app: ASGIFramework,
    sock: socket.socket,
    stopped: Callable[[], Awaitable[object]],
    retired: Callable[[], Awaitable[object]] = anyio.sleep_forever,
) -> None:
    metrics = metrics_of(app)
    connections = Connections(app, config, partial(note_refusal, metrics=metrics))
    if metrics is not None:
        metrics.count_connections = connections.__len__
    await accept_until(stopped, connections, sock, retired)


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
