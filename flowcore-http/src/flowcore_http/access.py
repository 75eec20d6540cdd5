"""Each request as one record in the log and one count in the metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from quart import Quart, g, request

from flowcore import Run
from flowcore_http.forwarded import is_marked
from flowcore_http.problem import HttpProblem

if TYPE_CHECKING:
    from hypercorn.typing import (
        ASGIFramework,
        ASGIReceiveCallable,
        ASGISendCallable,
        ASGISendEvent,
        HTTPScope,
        Scope,
    )

    from flowcore_http.metrics import Metrics

logger = logging.getLogger("flowcore.http.access")

_EXCHANGE = "flowcore.exchange"
_RUN_ID = b"x-run-id"
_MAX_PATH_CHARS = 200
_MAX_METHOD_CHARS = 20


class AccessLog:
    """ASGI middleware that notes how each request ended, on the logger ``flowcore.http.access``.

    The record has the level INFO. Its message names method, path, status, size and duration; the
    fields ``method``, ``path``, ``status``, ``bytes``, ``duration``, ``complete``, ``caller``,
    ``run_id`` and ``flow`` hold them for formatters that show fields. Query strings are left out:
    people put keys into them.

    Args:
        app: The ASGI app that answers the requests.
        metrics: Where requests are counted, if at all.
    """

    def __init__(self, app: ASGIFramework, metrics: Metrics | None) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or is_marked(scope):
            await self._app(scope, receive, send)
            return
        exchange = Exchange(send, self._metrics)
        cast("dict[str, Any]", scope)[_EXCHANGE] = exchange
        metrics = self._metrics
        if metrics is not None:
            metrics.open_requests.inc()
        try:
            await self._app(scope, receive, exchange.send)
        finally:
            if metrics is not None:
                metrics.open_requests.dec()
                metrics.request_ended(exchange.endpoint, exchange.status)
            if logger.isEnabledFor(logging.INFO):
                exchange.log(scope)
            exchange.run = None  # the request is part of a cycle, and stays for a while


class Exchange:
    """One request and what became of it.

    Args:
        send: Sends what answers it.
        metrics: Where its run is counted, if at all.

    Attributes:
        endpoint: The path of its route, or empty if there is none.
        status: The status of the answer, or 0 if there was none.
        size: How many bytes of the answer's body were sent.
        complete: Whether the answer was sent to its end.
        run: The run that it started, or None.
        run_id: Identifier of the run that the answer is about, or empty.
    """

    __slots__ = (
        *("_began", "_globals", "_send"),
        *("complete", "endpoint", "metrics", "run", "run_id", "size", "status"),
    )

    def __init__(self, send: ASGISendCallable, metrics: Metrics | None) -> None:
        self.metrics = metrics
        self._began = time.monotonic()
        self._globals: Any = None
        self._send = send
        self.endpoint = ""
        self.status = 0
        self.size = 0
        self.complete = False
        self.run: Run | None = None
        self.run_id = ""

    async def send(self, message: ASGISendEvent) -> None:
        """Send an event of the answer, and take note of it."""
        await self._send(message)
        if message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            self.run_id = next((v.decode() for k, v in message["headers"] if k == _RUN_ID), "")

    def routed(self) -> None:
        """Take note of the endpoint that answers the current request."""
        rule = request.url_rule
        self.endpoint = rule.rule if rule is not None else ""
        self._globals = cast("Any", g)._get_current_object()  # noqa: SLF001

    def log(self, scope: HTTPScope) -> None:
        """Write the record."""
        method, path = scope["method"][:_MAX_METHOD_CHARS], _path(scope)
        seconds = round(time.monotonic() - self._began, 6)
        fields: dict[str, Any] = {
            "method": method,
            "path": path,
            "status": self.status,
            "bytes": self.size,
            "duration": seconds,
            "complete": self.complete,
        }
        caller = self._globals.get("caller", "") if self._globals is not None else ""
        if caller:
            fields["caller"] = caller
        if self.run is not None:
            fields |= {"run_id": self.run.id, "flow": self.run.flow}
        elif self.run_id:
            fields["run_id"] = self.run_id
        logger.info(
            "%s %s %s, %d bytes in %.3f s%s%s",
            *(method, path, self.status or "unanswered", self.size, seconds),
            "" if self.complete else ", cut",
            f", key {caller!r}" if caller else "",
            extra=fields,
        )


def run_started(run: Run) -> None:
    """Take note that the current request has started ``run``."""
    if (exchange := _current()) is not None:
        exchange.run = run
        if exchange.metrics is not None:
            exchange.metrics.run_started(run)


def note_refusal(problem: HttpProblem, metrics: Metrics | None = None) -> None:
    """Note a request that was refused before it reached the app, by what answered it."""
    if metrics is not None:
        metrics.request_ended("", problem.status)
    fields = {"status": problem.status, "code": problem.code}
    logger.info("a request was refused: %d %s", problem.status, problem.code, extra=fields)


def gap_meter(run: Run) -> Callable[[], object]:
    """Return what is to be called whenever chunks of ``run`` are taken to be sent.

    Call this within the request that started the run.
    """
    exchange = _current()
    if exchange is None or exchange.metrics is None:
        return _nothing
    return exchange.metrics.gap_meter(run)


def _nothing() -> None:
    pass


def add_access_log(quart: Quart, metrics: Metrics | None) -> None:
    """Note the requests of a Quart app; call this when nothing else will wrap its ASGI app."""

    async def note() -> None:
        if (exchange := _current()) is not None:
            exchange.routed()

    quart.before_request_funcs.setdefault(None, []).insert(0, note)
    quart.asgi_app = AccessLog(quart.asgi_app, metrics)


def _current() -> Exchange | None:
    return cast("dict[str, Any]", request.scope).get(_EXCHANGE)


def _path(scope: HTTPScope) -> str:
    raw = scope["raw_path"] or quote(scope["path"]).encode()
    path = raw.partition(b"?")[0].decode("ascii", "backslashreplace")
    return path if len(path) <= _MAX_PATH_CHARS else f"{path[:_MAX_PATH_CHARS]}…"
