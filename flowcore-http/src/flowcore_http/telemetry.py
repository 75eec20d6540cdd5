"""What lets others see how the service does: /ready, /metrics, the watchdog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Quart, Response, request

from flowcore import FlowApp
from flowcore_http.inflight import InFlight
from flowcore_http.problem import HttpProblem
from flowcore_http.settings import HttpSettings
from flowcore_http.watchdog import Watchdog

if TYPE_CHECKING:
    from flowcore_http.metrics import Metrics

_EXTENSION = "flowcore_metrics"


def add_telemetry(
    quart: Quart, app: FlowApp, settings: HttpSettings, in_flight: InFlight
) -> Metrics | None:
    """Add all that to a Quart app, and return its metrics, if it has any."""
    metrics: Metrics | None = None
    if settings.metrics:
        from flowcore_http.metrics import Metrics  # noqa: PLC0415 - only where it is asked for

        metrics = Metrics(app, in_flight)
        _add_metrics(quart, metrics)
    quart.extensions[_EXTENSION] = metrics
    _add_ready(quart, app)
    if settings.stall_warning is not None:
        _add_watchdog(quart, settings.stall_warning, metrics)
    return metrics


def metrics_of(app: object) -> Metrics | None:
    """Return the metrics of an ASGI app, or None if it has none."""
    return app.extensions.get(_EXTENSION) if isinstance(app, Quart) else None


def _add_ready(quart: Quart, app: FlowApp) -> None:
    async def ready() -> Response:
        if not app.is_open:
            raise HttpProblem(503, "not_ready", "The service is not ready to start runs.")
        return Response('{"status":"ready"}', content_type="application/json")

    quart.add_url_rule("/ready", "ready", ready)


def _add_metrics(quart: Quart, metrics: Metrics) -> None:
    async def show() -> Response:
        text, content_type = await metrics.render(request.headers.get("Accept", ""))
        return Response(text, content_type=content_type, headers={"Cache-Control": "no-store"})

    quart.add_url_rule("/metrics", "metrics", show)


def _add_watchdog(quart: Quart, seconds: float, metrics: Metrics | None) -> None:
    watchdog = (
        Watchdog(seconds)
        if metrics is None
        else Watchdog(seconds, metrics.loop_ticked, metrics.stalls.inc)
    )

    async def start() -> None:
        watchdog.start()

    async def stop() -> None:
        watchdog.stop()

    quart.before_serving(start)
    quart.after_serving(stop)
