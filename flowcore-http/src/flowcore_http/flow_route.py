"""The endpoint of a flow: ``POST /{flow}`` runs it, and streams or answers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from flowcore import Flow, Run, read_response
from flowcore_http.admission import Admission
from flowcore_http.body import read_object
from flowcore_http.connected import Connected
from flowcore_http.endpoint import Endpoint, check_method
from flowcore_http.exchange import JSON, Exchange
from flowcore_http.frames import let_go_of_frames
from flowcore_http.inflight import InFlight
from flowcore_http.problem import problem_of_run, stopping
from flowcore_http.run_routes import RunRoutes
from flowcore_http.runs import RunRegister
from flowcore_http.settings import HttpSettings
from flowcore_http.wire import encode_response

if TYPE_CHECKING:
    from flowcore_http.metrics import Metrics


HOW_TO_RUN = "A flow runs with its inputs as a JSON object in the body; /docs lets you try it."


class FlowRoute:
    """Answers requests for one flow.

    Args:
        flow: The flow.
        settings: Settings of the service.
        admission: Starts its runs.
        in_flight: The requests in progress.
        register: Where its runs are recorded.
        runs: Streams them.
        metrics: Where they are counted, if at all.
    """

    def __init__(
        self,
        flow: Flow,
        settings: HttpSettings,
        *,
        admission: Admission,
        in_flight: InFlight,
        register: RunRegister,
        runs: RunRoutes,
        metrics: Metrics | None,
    ) -> None:
        answer = self._stream if flow.stream else self._answer
        self.endpoint = Endpoint(f"flow:{flow.name}", f"/{flow.name}", answer)
        self._flow = flow
        self._settings = settings
        self._admission = admission
        self._in_flight = in_flight
        self._register = register
        self._runs = runs
        self._metrics = metrics

    async def _stream(self, exchange: Exchange) -> None:
        if not await check_method(exchange, "POST", HOW_TO_RUN):
            return
        if event_id := exchange.field(b"last-event-id"):
            # What reads on is answered also while the service stops.
            await self._runs.resume(exchange, self._flow.name, event_id)
            return
        run = await self._start(exchange, trace=exchange.field(b"flowcore-trace") == "ops")
        # What a trace tells between chunks would shorten the gaps between them.
        measured = self._metrics if run.trace is None else None
        delivered = None if measured is None else measured.gap_meter(run)
        record = self._register.add(
            run,
            exchange.caller,
            on_disconnect=self._flow.on_disconnect,
            delivered=delivered or _nothing,
        )
        await self._runs.stream(exchange, record)

    async def _answer(self, exchange: Exchange) -> None:
        if not await check_method(exchange, "POST", HOW_TO_RUN):
            return
        run = await self._start(exchange)
        exchange.at_end(run.cancel)
        self._register.add(run, exchange.caller)
        async with Connected(exchange):
            try:
                response = await read_response(run)
            except Exception as error:
                # The run has ended; its error has come through this frame and others as well.
                exchange.at_end(partial(_let_go, error))
                raise problem_of_run(run) from error
            headers = [*JSON, (b"x-run-id", run.id.encode())]
            await exchange.answer(200, headers, encode_response(response))

    async def _start(self, exchange: Exchange, *, trace: bool = False) -> Run:
        if self._in_flight.refusing:
            raise stopping()
        settings = self._settings
        inputs = await read_object(exchange, settings.max_body_bytes, settings.body_timeout)
        run = self._admission.start(exchange, self._flow.name, inputs, trace=trace)
        exchange.run = run
        exchange.run_id = run.id
        if self._metrics is not None:
            self._metrics.run_started(run)
        return run


def _let_go(error: Exception, _reason: str) -> None:
    # As soon as the frames have ended that wait for this one.
    asyncio.get_running_loop().call_soon(let_go_of_frames, error)


def _nothing(_: float) -> None:
    pass
