"""The ASGI app: an endpoint for each flow, and the endpoints that describe the service."""

from __future__ import annotations

from contextlib import AsyncExitStack

from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException, NotFound

from flowcore import FlowApp, UnknownNameError
from flowcore_http.admission import Admission
from flowcore_http.cors import Cors
from flowcore_http.docs import add_docs
from flowcore_http.exchange import exchange_of
from flowcore_http.flow_route import FlowRoute
from flowcore_http.gateway import Gateway
from flowcore_http.inflight import InFlight
from flowcore_http.linger import LingeringBody
from flowcore_http.openapi import openapi_document
from flowcore_http.problem import problem_of_request
from flowcore_http.quart_connection import CONNECTION_CLASS, HostBlindQuart
from flowcore_http.run_routes import RunRoutes
from flowcore_http.runs import RunRegister
from flowcore_http.service import check_names
from flowcore_http.settings import HttpSettings
from flowcore_http.telemetry import add_telemetry


def create_app(app: FlowApp, settings: HttpSettings | None = None) -> Quart:
    """Return an ASGI app that serves the flows of ``app``, for any ASGI server.

    The flows are those that ``app`` has now. If ``app`` is not open when the server starts, it is
    opened then, and closed when the server stops. Flows and runs are answered before a request
    comes to Quart; routes that are added to the app stand beside them, behind the same checks.

    Args:
        app: The flows.
        settings: Settings of the service; those about the socket and the process are for
            :class:`flowcore_http.HttpService` only.

    Raises:
        ConfigError: If a flow has the name of an endpoint of the service.
    """
    check_names(app)
    settings = settings or HttpSettings()
    quart = HostBlindQuart("flowcore_http", static_folder=None)
    quart.config["MAX_CONTENT_LENGTH"] = None
    quart.config["RESPONSE_TIMEOUT"] = None
    # Otherwise //name redirects to a URL that is made from the Host header.
    quart.url_map.merge_slashes = False
    quart.asgi_http_class = CONNECTION_CLASS
    in_flight = InFlight()
    admission = Admission(app, settings)
    register = RunRegister(settings.replay)
    runs = RunRoutes(register, settings.heartbeat)
    metrics = add_telemetry(quart, app, settings, in_flight)
    endpoints = [
        FlowRoute(
            flow,
            settings,
            admission=admission,
            in_flight=in_flight,
            register=register,
            runs=runs,
            metrics=metrics,
        ).endpoint
        for flow in app.flows.values()
    ]
    if settings.playground:
        from flowcore_http import playground  # noqa: PLC0415 - only where it is asked for

        endpoints += playground.endpoints(app, settings, with_keys=bool(admission.keys))
    _add_health(quart)
    add_docs(quart, openapi_document(app.flows.values(), with_keys=bool(admission.keys)))
    _add_error_handler(quart, app)
    _add_lifespan(quart, app)
    quart.after_serving(register.close)
    quart.asgi_app = quart.extensions["flowcore_http"] = Gateway(
        quart,
        endpoints,
        runs,
        admission=admission,
        cors=Cors(settings.cors),
        in_flight=in_flight,
        metrics=metrics,
    )
    return quart


def gateway_of(quart: Quart) -> Gateway:
    """Return the way into an app that :func:`create_app` made."""
    return quart.extensions["flowcore_http"]


def in_flight(quart: Quart) -> InFlight:
    """Return the requests in progress of an app that :func:`create_app` made."""
    return gateway_of(quart).in_flight


def _add_health(quart: Quart) -> None:
    async def health() -> Response:
        return Response('{"status":"healthy"}', content_type="application/json")

    quart.add_url_rule("/health", "health", health)


def _add_error_handler(quart: Quart, app: FlowApp) -> None:
    async def handle(error: Exception) -> Response:
        request.routing_exception = None  # its traceback holds the request
        if isinstance(error, HTTPException) and error.code is not None and error.code < 400:
            return Response(status=error.code, headers=dict(error.get_headers()))
        if isinstance(error, NotFound):
            name = request.path.removeprefix("/")[:100]
            hint = "flows are called with POST /{flow}; /docs describes them"
            error = UnknownNameError("flow", name, app.flows, "" if name.strip("/") else hint)
        response = problem_of_request(error).response()
        # A client that waits for leave to send, and gets this answer, sends nothing.
        rest = None if exchange_of(request.scope).body_is_held_back else request.body
        response.response = LingeringBody(await response.get_data(as_text=False), rest)
        return response

    quart.register_error_handler(Exception, handle)


def _add_lifespan(quart: Quart, app: FlowApp) -> None:
    # Not a generator with `yield` inside `async with app`: see PEP 789.
    stack = AsyncExitStack()

    async def open_app() -> None:
        if not app.is_open:
            await stack.enter_async_context(app)

    quart.before_serving(open_app)
    quart.after_serving(stack.aclose)
