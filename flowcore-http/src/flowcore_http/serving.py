"""The life of the service: from the listening socket to the last request."""

from __future__ import annotations

import gc
import logging
import math
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from functools import partial
from importlib import import_module
from typing import TypeVar

import anyio
from quart import Quart

from flowcore import FlowApp, RunFailedError
from flowcore_http.accepting import CLOSE_SECONDS
from flowcore_http.inflight import InFlight
from flowcore_http.listener import is_loopback, listen, url_of, warn_if_open
from flowcore_http.server import create_app, in_flight
from flowcore_http.servers import Server, server_of
from flowcore_http.settings import HttpSettings
from flowcore_http.signals import ECHO_SECONDS, INTERRUPTED, StopSignals, exit_after

T = TypeVar("T")

logger = logging.getLogger("flowcore.http")

EXIT_SECONDS = 1.0
"""How long the process may live on after the second signal."""

CLEANUP_SECONDS = 7.0
"""The most that the ops of runs which did not end in time get for their cleanup."""

OVERDUE_SECONDS = 15.0
"""How long the process may live on after the drain that the first signal began."""

_COLLECTED_AFTER = (5_000, 100)
"""After how many new containers the garbage collector looks for garbage among them, and after how
often that among what was left then; see ``gc.set_threshold``."""


def run_until_stopped(app: FlowApp, settings: HttpSettings) -> None:
    """Open ``app`` and serve it until a signal comes; see :class:`flowcore_http.HttpService`.

    Raises:
        ConfigError: If the address cannot be listened at, a certificate cannot be read, the
            server is not installed, or a flow's name is reserved.
        SystemExit: With code 130 after a second signal.
    """
    server = server_of(settings)
    with listen(settings) as sock:

        def announce_alone(_quart: Quart) -> AbstractAsyncContextManager[object]:
            announce(app, settings, sock)
            return nullcontext()

        interrupted = run_event_loop(
            partial(serve_app, app, settings, server, sock, StopSignals, announce_alone)
        )
    if interrupted:
        sys.exit(INTERRUPTED)


def run_event_loop(function: Callable[[], Awaitable[T]]) -> T:
    """Run an async function to its end, on uvloop where that is installed."""
    return anyio.run(function, backend_options={"use_uvloop": _has_uvloop()})


async def serve_app(
    app: FlowApp,
    settings: HttpSettings,
    server: Server,
    sock: socket.socket,
    stop_signals: Callable[[Callable[[], object], Callable[[], object]], StopSignals],
    beside: Callable[[Quart], AbstractAsyncContextManager[object]],
) -> bool:
    """Open ``app`` and serve it until a signal comes; return whether a second one did.

    Args:
        app: The flows.
        settings: Settings of the service.
        server: What carries the service.
        sock: The listening socket.
        stop_signals: How signals reach this process.
        beside: Makes what is entered when the app is open, and left when all requests have ended.
    """
    quart = create_app(app, _with_playground(settings, sock))
    scope = anyio.CancelScope()
    opened = False

    def at_first() -> None:
        exit_after(settings.drain_timeout + OVERDUE_SECONDS, 1)
        if not opened:
            # There is nothing to drain yet, and a plugin may wait for ever for something.
            scope.cancel()

    def at_once() -> None:
        exit_after(EXIT_SECONDS, INTERRUPTED)
        scope.cancel()

    signals = stop_signals(at_first, at_once)

    async def stopped() -> None:
        left = await _wait_for_end(signals, app, in_flight(quart), settings)
        await _drain(app, in_flight(quart), left)

    with signals.installed(), scope:
        async with app:
            opened = True
            await quart.startup()
            _collect_less()
            async with beside(quart):
                await server(quart, sock, stopped, signals.retired.wait)
            await quart.shutdown()
            # Only what ignores its cancellation can still be there.
            exit_after(OVERDUE_SECONDS, 1)
    return signals.second.is_set()


def _collect_less() -> None:
    """Have the garbage collector hold up streams less often.

    What there is now stays until the end, and need not be looked at again and again. By default it
    looks at all that is younger whenever some hundred streams have begun, for tens of milliseconds.
    Neither runs nor requests wait for it.
    """
    gc.freeze()
    threshold = gc.get_threshold()
    if 0 < threshold[0] < _COLLECTED_AFTER[0]:  # unless somebody has set more, or switched it off
        gc.set_threshold(*_COLLECTED_AFTER, *threshold[2:])


async def _wait_for_end(
    signals: StopSignals, app: FlowApp, requests: InFlight, settings: HttpSettings
) -> float:
    """Wait until the service is to stop; return how long what runs may still take, in seconds."""
    limit = math.inf

    async def retire() -> None:
        nonlocal limit
        await signals.retired.wait()
        limit = anyio.current_time() + settings.drain_timeout
        requests.close_connections()
        if what := _running(app, requests):
            text = "no more connections are taken: finishing %s, for up to %g s"
            logger.warning(text, what, settings.drain_timeout)
        with anyio.move_on_at(limit):
            while (rest := _patience(app, requests, settings)) > 0:
                await anyio.sleep(rest)
                await requests.wait_idle()
                await app.drain(settings.drain_timeout)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(retire)
        await signals.first.wait()
        tasks.cancel_scope.cancel()
    return max(min(settings.drain_timeout, limit - anyio.current_time()), 0.0)


def _patience(app: FlowApp, requests: InFlight, settings: HttpSettings) -> float:
    """Return how long to wait before there can be no further request, in seconds."""
    if requests.count or app.runs:
        return ECHO_SECONDS
    # Who has an open connection may be about to use it: the server has not said that it will close.
    return requests.ended_at + settings.keep_alive_timeout - time.monotonic()


def _running(app: FlowApp, requests: InFlight) -> str:
    # A run may be without a request, while its reader has time to come back.
    count = requests.count or len(app.runs)
    what = "request" if requests.count else "run"
    return f"{count} {what}{'' if count == 1 else 's'}" if count else ""


async def _drain(app: FlowApp, requests: InFlight, seconds: float) -> None:
    if what := _running(app, requests):
        text = "stopping: waiting up to %g s for %s; a second signal ends at once"
        logger.warning(text, round(seconds, 1), what)
    requests.refuse_new()
    await anyio.sleep(ECHO_SECONDS)
    with anyio.move_on_after(seconds):
        # Runs whose reader has left for a while may go on to their end as well, and be resumed.
        while requests.count or app.runs:
            await requests.wait_idle()
            await app.drain(seconds)
        return
    logger.warning("stopping: %d of them did not end in time", requests.count or len(app.runs))
    for run in tuple(app.runs.values()):
        run.fail(RunFailedError("the service is shutting down", {"code": "shutting_down"}))
    # A stream tells how its run ended, so that has to come first; it is noticed a little late.
    await app.drain(min(app.config.deadlines.cleanup * 1.2, CLEANUP_SECONDS))
    with anyio.move_on_after(CLOSE_SECONDS):
        await requests.wait_idle()


def announce(app: FlowApp, settings: HttpSettings, sock: socket.socket) -> None:
    """Tell on standard error where the flows are served; as a record where the log is JSON."""
    warn_if_open(settings, sock)
    url = url_of(sock, secure=settings.certfile is not None)
    flows = ", ".join(app.flows) or "none; the configuration has nothing under `flow`"
    pages = ["docs", "playground"] if _with_playground(settings, sock).playground else ["docs"]
    shown = ", ".join(f"{page}: {url}/{page}" for page in pages)
    text = f"serving at {url} ({shown}), flows: {flows}"
    if os.environ.get("FLOWCORE_LOG_FORMAT", "").lower() == "json" and logger.hasHandlers():
        # Whatever the level: whoever started the service waits for this.
        about = {"url": url, "flows": [*app.flows]}
        record = logger.makeRecord(
            logger.name, logging.INFO, __file__, 0, text, (), None, extra=about
        )
        logger.handle(record)
        return
    # Whoever read our output may have left; the service goes on.
    with suppress(OSError):
        # In one piece, or the log of another process may come between.
        print(f"flowcore: {text}\n", end="", file=sys.stderr)


def _with_playground(settings: HttpSettings, sock: socket.socket) -> HttpSettings:
    if settings.playground is not None:
        return settings
    return settings.model_copy(update={"playground": is_loopback(sock)})


def _has_uvloop() -> bool:
    try:
        import_module("uvloop")
    except ImportError:
        return False
    return True
