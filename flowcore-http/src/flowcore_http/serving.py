"""The life of the service: from the listening socket to the last request."""

from __future__ import annotations

import logging
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import anyio
from hypercorn.config import Config

from flowcore import FlowApp, RunFailedError
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


def run_until_stopped(app: FlowApp, settings: HttpSettings) -> None:
    """Open ``app`` and serve it until a signal comes; see :class:`flowcore_http.HttpService`.

    Raises:
        ConfigError: If the address cannot be listened at, a certificate cannot be read, or a
            flow's name is reserved.
        SystemExit: With code 130 after a second signal.
    """
    config = server_config(settings)
    options: dict[str, Any] = {"use_uvloop": _has_uvloop()}
    with listen(settings) as sock:
        interrupted = anyio.run(_serve, app, settings, config, sock, backend_options=options)
    if interrupted:
        sys.exit(INTERRUPTED)


async def _serve(app: FlowApp, settings: HttpSettings, config: Config, sock: socket.socket) -> bool:
    quart = create_app(app, settings)
    scope = anyio.CancelScope()
    opened = False

    def at_first() -> None:
        exit_after(settings.drain_timeout + _OVERDUE_SECONDS, 1)
        if not opened:
            # There is nothing to drain yet, and a plugin may wait for ever for something.
            scope.cancel()

    def at_once() -> None:
        exit_after(_EXIT_SECONDS, INTERRUPTED)
        scope.cancel()

    signals = StopSignals(at_first, at_once)

    async def stopped() -> None:
        await signals.first.wait()
        await _drain(app, in_flight(quart), settings.drain_timeout)

    with signals.installed(), scope:
        async with app:
            opened = True
            await quart.startup()
            _announce(app, url_of(sock, secure=settings.certfile is not None))
            await serve(quart, config, sock, stopped)
            await quart.shutdown()
    return signals.second.is_set()


async def _drain(app: FlowApp, requests: InFlight, seconds: float) -> None:
    if requests.count:
        what = "1 request" if requests.count == 1 else f"{requests.count} requests"
        text = "stopping: waiting up to %g s for %s; a second signal ends at once"
        logger.warning(text, seconds, what)
    requests.refuse_new()
    await anyio.sleep(ECHO_SECONDS)
    with anyio.move_on_after(seconds):
        await requests.wait_idle()
        return
    logger.warning("stopping: %d of them did not end in time", requests.count)
    for run in tuple(app.runs.values()):
        run.fail(RunFailedError("the service is shutting down", {"code": "shutting_down"}))
    with anyio.move_on_after(CLOSE_SECONDS):
        await requests.wait_idle()


def _announce(app: FlowApp, url: str) -> None:
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
