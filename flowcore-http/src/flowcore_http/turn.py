"""Processes that serve one after the other on one socket, for `flowcore serve --reload`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from quart import Quart

from flowcore import ConfigError, FlowApp, Handover, HandoverRequest
from flowcore_http.body import read_whole
from flowcore_http.exchange import Exchange
from flowcore_http.forwarded import is_forwarded
from flowcore_http.gateway import Gateway
from flowcore_http.listener import adopt, listen
from flowcore_http.server import gateway_of
from flowcore_http.servers import server_of
from flowcore_http.serving import announce, run_event_loop, serve_app
from flowcore_http.settings import HttpSettings
from flowcore_http.siblings import Siblings
from flowcore_http.signals import INTERRUPTED, StopSignals


def run_in_turn(app: FlowApp, settings: HttpSettings, handover: Handover) -> None:
    """Open ``app`` and serve it until another process takes over, or all is to end.

    Raises:
        ConfigError: As for one process, and if there are to be several at a time.
        SystemExit: With code 130 after a request to end at once.
    """
    if settings.workers > 1:
        raise ConfigError(
            f"http.workers: {settings.workers} processes cannot be reloaded; set http.workers=1 "
            "for as long as --reload is used",
            app.config.origins.find(("http", "workers")),
        )
    server = server_of(settings)
    name = f"{settings.host} {settings.port}"
    inherited = handover.inherited(name)
    with adopt(inherited, settings) if inherited else listen(settings) as sock:

        @asynccontextmanager
        async def taking_over(quart: Quart) -> AsyncGenerator[None]:
            async with _siblings(quart, settings, handover):
                handover.keep(name, sock)
                if inherited is None:
                    announce(app, settings, sock)
                handover.serving()
                yield

        interrupted = run_event_loop(
            partial(
                serve_app,
                app,
                settings,
                server,
                sock,
                partial(_RequestedEnd, handover),
                taking_over,
            )
        )
    if interrupted:
        sys.exit(INTERRUPTED)


@asynccontextmanager
async def _siblings(
    quart: Quart, settings: HttpSettings, handover: Handover
) -> AsyncGenerator[None]:
    """Let the processes answer for the runs of each other, as long as there are several."""
    if sys.platform == "win32":
        yield
        return
    siblings = Siblings(handover.folder, os.getpid())
    gateway = gateway_of(quart)
    gateway.runs.siblings = siblings
    gateway.relay = partial(_relay, siblings, gateway, settings)
    async with siblings.listening(quart, settings):
        yield


async def _relay(
    siblings: Siblings, gateway: Gateway, settings: HttpSettings, exchange: Exchange
) -> bool:
    """Have the process that has taken over answer what still comes over old connections.

    A client that keeps its connection open would otherwise meet what was loaded before.
    """
    if not gateway.in_flight.closing or is_forwarded(exchange):
        return False
    if exchange.path.startswith("/runs/") or b"last-event-id" in exchange.fields:
        return False  # these runs may be of this process
    gateway.admission.check_host(exchange)
    body = await read_whole(exchange, settings.max_body_bytes, settings.body_timeout)
    return await siblings.relay(exchange, body)


class _RequestedEnd(StopSignals):
    """What the supervisor asks for takes the place of signals.

    A terminal sends SIGINT to all processes; the supervisor gets it as well, and says what is to be
    done.
    """

    def __init__(
        self, handover: Handover, at_first: Callable[[], object], at_once: Callable[[], object]
    ) -> None:
        super().__init__(at_first, at_once)
        self._handover = handover

    @contextmanager
    def installed(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGTERM, self._take, HandoverRequest.STOP)
        self._handover.on_request(lambda request: loop.call_soon_threadsafe(self._take, request))
        try:
            yield
        finally:
            self._handover.on_request(_end_if_asked)
            if sys.platform != "win32":
                loop.remove_signal_handler(signal.SIGTERM)

    def _take(self, request: HandoverRequest) -> None:
        match request:
            case HandoverRequest.RETIRE if not self.first.is_set():
                self.retired.set()
                self._at_first()
            case HandoverRequest.STOP if not self.first.is_set():
                self.first.set()
                self._at_first()
            case HandoverRequest.END if not self.second.is_set():
                self.first.set()
                self.second.set()
                self._at_once()
            case _:
                pass


def _end_if_asked(request: HandoverRequest) -> None:
    if request is HandoverRequest.END:
        os._exit(INTERRUPTED)
