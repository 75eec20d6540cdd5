"""The ASGI app: an endpoint for each flow, and the endpoints that describe the service."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

from quart import Quart, Response, g, request
from quart_cors import cors  # pyright: ignore[reportUnknownVariableType]
from werkzeug.exceptions import HTTPException, NotFound

from flowcore import Flow, FlowApp, Run, UnknownNameError, read_response
from flowcore_http.access import gap_meter, run_started
from flowcore_http.admission import Admission
from flowcore_http.body import read_object
from flowcore_http.docs import add_docs
from flowcore_http.hosts import HostBlindQuart
from flowcore_http.inflight import CONNECTION_CLASS, InFlight, at_end
from flowcore_http.linger import LingeringBody
from flowcore_http.openapi import openapi_document
from flowcore_http.problem import HttpProblem, problem_of_request, problem_of_run, stopping
from flowcore_http.run_routes import RunRoutes
from flowcore_http.runs import RunRegister
from flowcore_http.service import check_names
from flowcore_http.settings import HttpSettings
from flowcore_http.telemetry import add_telemetry
from flowcore_http.wire import encode_json

_UNTIL_THE_END = frozenset({"run", "run_events", "cancel_run", "metrics"})
"""Endpoints that answer also while the service stops: those for runs that are still there."""


def create_app(app: FlowApp, settings: HttpSettings | None = None) -> Quart:
    """Return an ASGI app that serves the flows of ``app``, for any ASGI server.

    The flows are those that ``app`` has now. If ``app`` is not open when the server starts, it is
    opened then, and closed when the server stops.

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
    requests = InFlight(quart.asgi_app)
    quart.asgi_app = quart.extensions["flowcore_http"] = requests
    quart.before_request(partial(_check_request, requests))
    quart.after_request(_forbid_guessing)
    admission = Admission(app, settings)
    admission.guard(quart)
    register = RunRegister(settings.replay)
    routes = RunRoutes(quart, register, settings.heartbeat)
    for flow in app.flows.values():
        _add_flow(quart, admission, register, routes, flow, settings)
    _add_health(quart)
    add_docs(quart, openapi_document(app.flows.values(), with_keys=bool(admission.keys)))
    _add_error_handler(quart, app)
    _add_lifespan(quart, app)
    quart.after_serving(register.close)
    add_telemetry(quart, app, settings)
    return cors(
        quart,
        allow_origin=settings.cors.allow_origin,
        allow_credentials=settings.cors.allow_credentials,
        allow_headers=settings.cors.allow_headers,
        allow_methods=["GET", "HEAD", "POST", "OPTIONS"],
        expose_headers=["X-Run-Id", "Retry-After"],
        max_age=settings.cors.max_age,
    )


def in_flight(quart: Quart) -> InFlight:
    """Return the requests in progress of an app that :func:`create_app` made."""
    return quart.extensions["flowcore_http"]


def _add_flow(
    quart: Quart,
    admission: Admission,
    register: RunRegister,
    routes: RunRoutes,
    flow: Flow,
    settings: HttpSettings,
) -> None:
    async def start() -> Run:
        # What reads on does not come here: it is answered also while the service stops.
        if in_flight(quart).refusing:
            raise stopping()
        inputs = await read_object(request, settings.max_body_bytes, settings.body_timeout)
        run = admission.start(flow.name, inputs)
        run_started(run)
        return run

    async def stream() -> Response:
        if (rest := await routes.resume(flow.name)) is not None:
            return rest
        run = await start()
        record = register.add(
            run, g.caller, on_disconnect=flow.on_disconnect, delivered=gap_meter(run)
        )
        return routes.stream(record)

    async def answer() -> Response:
        run = await start()
        at_end(request, run.cancel)
        register.add(run, g.caller)
        try:
            response = await read_response(run)
        except Exception as error:
            raise problem_of_run(run) from error
        return Response(
            encode_json(response.model_dump()),
            content_type="application/json",
            headers={"Cache-Control": "no-store", "X-Run-Id": run.id},
        )

    view = stream if flow.stream else answer
    quart.add_url_rule(f"/{flow.name}", f"flow:{flow.name}", view, methods=["POST"])


def _add_health(quart: Quart) -> None:
    async def health() -> Response:
        return Response('{"status":"healthy"}', content_type="application/json")

    quart.add_url_rule("/health", "health", health)


# Async, as all that Quart calls: the rest would run in a thread of the event loop's own pool, and
# wait where ops, or the resolver, have taken all of them.
async def _check_request(requests: InFlight) -> None:
    endpoint = request.endpoint or ""
    if requests.refusing and not (endpoint in _UNTIL_THE_END or endpoint.startswith("flow:")):
        raise stopping()
    # The server's HTTP/2 has no back-pressure: a stalled reader would fill the memory.
    if request.http_version.startswith("2"):
        raise HttpProblem(505, "http_version_not_supported", "Use HTTP/1.1.")
    if "Transfer-Encoding" in request.headers and "Content-Length" in request.headers:
        # RFC 9112, section 6.3: such a request may be an attempt at smuggling another.
        detail = "Content-Length and Transfer-Encoding exclude each other."
        raise HttpProblem(400, "bad_request", detail, {"Connection": "close"})


async def _forbid_guessing(response: Response) -> Response:
    # What a model wrote shall not pass for a page or a script by its looks.
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def _add_error_handler(quart: Quart, app: FlowApp) -> None:
    async def handle(error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.code is not None and error.code < 400:
            return Response(status=error.code, headers=dict(error.get_headers()))
        if isinstance(error, NotFound):
            name = request.path.strip("/")[:100]
            hint = "" if name else "flows are called with POST /{flow}; /docs describes them"
            error = UnknownNameError("flow", name, app.flows, hint)
        response = problem_of_request(error).response()
        response.response = LingeringBody(await response.get_data(as_text=False), request.body)
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
