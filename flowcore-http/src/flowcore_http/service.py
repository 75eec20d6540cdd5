"""The service ``http``: the ASGI app on Hypercorn, from its socket to its last request."""

from __future__ import annotations

import importlib.util
import logging
import socket
import ssl
import sys
from typing import Any

import anyio
from hypercorn.asyncio import serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.config import Config, Sockets

from flowcore import BaseService, ConfigError, FlowApp
from flowcore_http.inflight import InFlight
from flowcore_http.listener import listen, url_of
from flowcore_http.server import create_app, in_flight
from flowcore_http.settings import HttpSettings
from flowcore_http.signals import ECHO_SECONDS, StopSignals, exit_after

logger = logging.getLogger("flowcore.http")

_CLOSE_SECONDS = 2.0
"""How long connections may take to close after their last request."""

_EXIT_SECONDS = 1.0
"""How long the process may live on after the second signal."""

_INTERRUPTED = 130


class HttpService(BaseService):
    """Serves the flows of an app over HTTP until it is told to stop.

    The first SIGINT or SIGTERM lets running requests finish for ``drain_timeout`` seconds while
    new ones get 503; then the rest is cancelled. The second cancels all at once.

    Args:
        settings: The config section ``http``.
    """

    Settings = HttpSettings
    settings: HttpSettings

    def run(self, app: FlowApp) -> None:
        """Open ``app`` and serve it.

        Raises:
            ConfigError: If the address cannot be listened at, a certificate cannot be read, or
                a flow's name is reserved.
            SystemExit: With code 130 after a second signal.
        """
        options: dict[str, Any] = {"use_uvloop": importlib.util.find_spec("uvloop") is not None}
        with listen(self.settings) as sock:
            config = server_config(self.settings, sock)
            interrupted = anyio.run(self._serve, app, config, sock, backend_options=options)
        if interrupted:
            exit_after(_EXIT_SECONDS, _INTERRUPTED)
            sys.exit(_INTERRUPTED)

    async def _serve(self, app: FlowApp, config: Config, sock: socket.socket) -> bool:
        scope = anyio.CancelScope()

        def at_once() -> None:
            exit_after(_EXIT_SECONDS, _INTERRUPTED)
            scope.cancel()

        signals = StopSignals(at_once)
        with signals.installed(), scope:
            async with app:
                quart = create_app(app, self.settings)
                self._announce(app, sock)
                with anyio.CancelScope() as serving:

                    async def stopped() -> None:
                        await signals.first.wait()
                        await self._drain(app, in_flight(quart))
                        serving.deadline = anyio.current_time() + _CLOSE_SECONDS

                    await serve(quart, config, shutdown_trigger=stopped)
        return signals.second.is_set()

    async def _drain(self, app: FlowApp, requests: InFlight) -> None:
        logger.info("stopping: %d requests in progress", len(requests))
        requests.refuse_new()
        await anyio.sleep(ECHO_SECONDS)
        with anyio.move_on_after(self.settings.drain_timeout):
            await requests.wait_idle()
            return
        logger.warning("stopping: %d requests cancelled", len(requests))
        for run in tuple(app.runs.values()):
            run.cancel("shutdown")
        with anyio.move_on_after(_CLOSE_SECONDS):
            await requests.wait_idle()

    def _announce(self, app: FlowApp, sock: socket.socket) -> None:
        url = url_of(sock, secure=self.settings.certfile is not None)
        flows = ", ".join(app.flows) or "none"
        print(f"flowcore: serving at {url} (docs: {url}/docs), flows: {flows}", file=sys.stderr)


class _OwnSocket(Config):
    """Hypercorn settings for a socket that listens already."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def create_sockets(self) -> Sockets:
        secure = [self._sock] if self.ssl_enabled else []
        return Sockets(secure, [] if secure else [self._sock], [])


def server_config(settings: HttpSettings, sock: socket.socket) -> Config:
    """Return what Hypercorn is told: the socket, and HTTP/1.1 only.

    Raises:
        ConfigError: If the certificate or its key cannot be read.
    """
    config = _OwnSocket(sock)
    config.backlog = settings.backlog
    config.accesslog = None
    config.errorlog = logging.getLogger("flowcore.http.server")
    config.include_server_header = False
    config.alpn_protocols = ["http/1.1"]
    config.graceful_timeout = _CLOSE_SECONDS
    if settings.certfile is not None and settings.keyfile is not None:
        config.certfile = str(settings.certfile)
        config.keyfile = str(settings.keyfile)
        try:
            config.create_ssl_context()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"http.certfile, http.keyfile: {error}") from None
    return config
