"""The service ``http``: from the listening socket to the last request."""

from __future__ import annotations

import logging
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import anyio
from hypercorn.config import Config

from flowcore import BaseService, FlowApp, RunFailedError
from flowcore_http.client import HttpClient
from flowcore_http.connections import CLOSE_SECONDS, serve, server_config
from flowcore_http.inflight import InFlight
from flowcore_http.listener import listen, url_of
from flowcore_http.server import create_app, in_flight
from flowcore_http.settings import HttpSettings
from flowcore_http.signals import ECHO_SECONDS, INTERRUPTED, StopSignals, exit_after

logger = logging.getLogger("flowcore.http")

_EXIT_SECONDS = 1.0
"""How long the process may live on after the second signal."""

_OVERDUE_SECONDS = 15.0
"""How long the process may live on after the drain that the first signal began."""


class HttpService(BaseService):
    """Serves the flows of an app over HTTP until it is told to stop.

    The first SIGINT or SIGTERM lets running requests finish for ``drain_timeout`` seconds while
    new ones get 503; then the rest is cancelled. The second cancels all at once. The process is
    taken to be the service's own: after a signal it ends, even if a sync op hangs in its thread.

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
        config = server_config(self.settings)
        options: dict[str, Any] = {"use_uvloop": _has_uvloop()}
        with listen(self.settings) as sock:
            interrupted = anyio.run(self._serve, app, config, sock, backend_options=options)
        if interrupted:
            sys.exit(INTERRUPTED)

    @classmethod
    def connect(cls, url: str) -> HttpClient:
        """Return a client for a server at ``url``."""
        return HttpClient(url)

    async def _serve(self, app: FlowApp, config: Config, sock: socket.socket) -> bool:
        quart = create_app(app, self.settings)
        scope = anyio.CancelScope()

        def at_once() -> None:
            exit_after(_EXIT_SECONDS, INTERRUPTED)
            scope.cancel()

        signals = StopSignals(at_once)

        async def stopped() -> None:
            await signals.first.wait()
            exit_after(self.settings.drain_timeout + _OVERDUE_SECONDS, 1)
            await self._drain(app, in_flight(quart))

        with signals.installed(), scope:
            async with app:
                await quart.startup()
                self._announce(app, sock)
                await serve(quart, config, sock, stopped)
                await quart.shutdown()
        return signals.second.is_set()

    async def _drain(self, app: FlowApp, requests: InFlight) -> None:
        logger.info("stopping: %d requests in progress", requests.count)
        requests.refuse_new()
        await anyio.sleep(ECHO_SECONDS)
        with anyio.move_on_after(self.settings.drain_timeout):
            await requests.wait_idle()
            return
        logger.warning("stopping: %d requests cancelled", requests.count)
        for run in tuple(app.runs.values()):
            run.fail(RunFailedError("the service is shutting down", {"code": "shutting_down"}))
        with anyio.move_on_after(CLOSE_SECONDS):
            await requests.wait_idle()

    def _announce(self, app: FlowApp, sock: socket.socket) -> None:
        url = url_of(sock, secure=self.settings.certfile is not None)
        flows = ", ".join(app.flows) or "none"
        # Whoever read our output may have left; the service goes on.
        with suppress(OSError):
            print(f"flowcore: serving at {url} (docs: {url}/docs), flows: {flows}", file=sys.stderr)


def _has_uvloop() -> bool:
    try:
        import_module("uvloop")
    except ImportError:
        return False
    return True
