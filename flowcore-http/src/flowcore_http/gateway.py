"""The way in: every request is counted, let in, answered by its endpoint, and noted in the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, cast

from quart import Quart, g, request

from flowcore_http.access import log_exchange
from flowcore_http.admission import Admission
from flowcore_http.cors import Cors
from flowcore_http.endpoint import Endpoint
from flowcore_http.exchange import BodyCutError, Exchange, exchange_of, forget, remember
from flowcore_http.forwarded import is_forwarded
from flowcore_http.inflight import InFlight
from flowcore_http.problem import HttpProblem, problem_of_request, stopping
from flowcore_http.run_routes import RunRoutes

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

    from flowcore_http.metrics import Metrics

_CLOSE = (b"connection", b"close")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
"""What a model wrote shall not pass for a page or a script by its looks."""


class Gateway:
    """The ASGI app in front of all endpoints.

    Those of flows, of runs and of the playground are answered here, all others by Quart; the same
    is checked for both. However a request ends, by a disconnect, a fault or a cancellation, it no
    longer reads its run then. WebSockets are refused.

    Args:
        quart: The app that answers the other requests.
        endpoints: Those of the flows, and of the playground.
        runs: The endpoints for runs.
        admission: Lets requests in.
        cors: Which pages of other origins may call.
        in_flight: The requests in progress.
        metrics: Where requests are counted, if at all.

    Attributes:
        runs: See above.
        admission: See above.
        in_flight: See above.
        flow_called: Called at each request for a flow that was let in.
        relay: Has another process answer a request, if there is one that serves in the place of
            this one; returns whether it did.
    """

    def __init__(
        self,
        quart: Quart,
        endpoints: Iterable[Endpoint],
        runs: RunRoutes,
        *,
        admission: Admission,
        cors: Cors,
        in_flight: InFlight,
        metrics: Metrics | None,
    ) -> None:
        self._quart: ASGIFramework = quart.asgi_app
        self._endpoints = {endpoint.route: endpoint for endpoint in endpoints}
        self.runs = runs
        self.admission = admission
        self._cors = cors
        self.in_flight = in_flight
        self._metrics = metrics
        self.flow_called: Callable[[], object] = _nothing
        self.relay: Callable[[Exchange], Awaitable[bool]] | None = None
        quart.before_request(self._admit)

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000, "reason": None})
            return
        if scope["type"] != "http":
            await self._quart(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        self.in_flight.begin()
        try:
            await self._answer(exchange)
        except BodyCutError:
            pass  # the server closes a connection on which an answer is left unfinished
        # A fault of ours is told also where nobody is left to be answered.
        except (OSError, HttpProblem):
            if not exchange.client_left:
                raise
        finally:
            exchange.end()
            self.in_flight.end()
            if not is_forwarded(exchange):
                if self._metrics is not None:
                    self._metrics.request_ended(exchange.route, exchange.status)
                log_exchange(exchange)

    async def _answer(self, exchange: Exchange) -> None:
        exchange.extra = [_NOSNIFF, *self._cors.headers(exchange)]
        if self.in_flight.closing:
            exchange.extra.append(_CLOSE)
        endpoint = self._find(exchange.path)
        try:
            preflight = self._cors.preflight(exchange)
            if preflight is not None:
                # The same for every path: what exists is told to those with a key only.
                self.admission.check_host(exchange)
                await exchange.start(204, preflight)
                await exchange.write(b"", more=False)
            elif self.relay is not None and await self.relay(exchange):
                pass
            elif endpoint is not None:
                exchange.endpoint = endpoint.name
                exchange.route = endpoint.route
                await self.admission.check(exchange)
                if endpoint.name.startswith("flow:"):
                    self.flow_called()
                await endpoint.answer(exchange)
            else:
                remember(exchange)
                await self._quart(cast("Scope", exchange.scope), exchange.receive, exchange.send)
        except Exception as error:
            if exchange.status or exchange.client_left:
                raise
            await exchange.refuse(problem_of_request(error))
        finally:
            if endpoint is None:
                forget(exchange)

    def _find(self, path: str) -> Endpoint | None:
        endpoint = self._endpoints.get(path)
        if endpoint is None and path.startswith("/runs/"):
            return self.runs.find(path)
        return endpoint

    # Async, as all that Quart calls: the rest would run in a thread of the event loop's own pool,
    # and wait where ops, or the resolver, have taken all of them.
    async def _admit(self) -> None:
        exchange = exchange_of(request.scope)
        rule = request.url_rule
        exchange.endpoint = request.endpoint or ""
        exchange.route = rule.rule if rule is not None else ""
        await self.admission.check(exchange)
        g.caller = exchange.caller
        if self.in_flight.refusing and exchange.endpoint != "metrics":
            raise stopping()


def _nothing() -> None:
    pass
