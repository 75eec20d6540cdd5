"""Each request as one record in the log."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flowcore_http.exchange import Exchange
from flowcore_http.problem import HttpProblem

if TYPE_CHECKING:
    from flowcore_http.metrics import Metrics

logger = logging.getLogger("flowcore.http.access")

_MAX_PATH_CHARS = 200
_MAX_METHOD_CHARS = 20


def log_exchange(exchange: Exchange) -> None:
    """Note how a request ended, on the logger ``flowcore.http.access``.

    The record has the level INFO. Its message names method, path, status, size and duration; the
    fields ``method``, ``path``, ``status``, ``bytes``, ``duration``, ``complete``, ``caller``,
    ``run_id`` and ``flow`` hold them for formatters that show fields. Query strings are left out:
    people put keys into them.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    method, path = exchange.method[:_MAX_METHOD_CHARS], _path(exchange)
    seconds = round(time.monotonic() - exchange.began, 6)
    fields: dict[str, Any] = {
        "method": method,
        "path": path,
        "status": exchange.status,
        "bytes": exchange.size,
        "duration": seconds,
        "complete": exchange.complete,
    }
    caller = exchange.caller
    if caller:
        fields["caller"] = caller
    if exchange.run is not None:
        fields |= {"run_id": exchange.run.id, "flow": exchange.run.flow}
    elif exchange.run_id:
        fields["run_id"] = exchange.run_id
    logger.info(
        "%s %s %s, %d bytes in %.3f s%s%s",
        *(method, path, exchange.status or "unanswered", exchange.size, seconds),
        "" if exchange.complete else ", cut",
        f", key {caller!r}" if caller else "",
        extra=fields,
    )


def note_refusal(problem: HttpProblem, metrics: Metrics | None = None) -> None:
    """Note a request that was refused before it reached the app, by what answered it."""
    if metrics is not None:
        metrics.request_ended("", problem.status)
    fields = {"status": problem.status, "code": problem.code}
    logger.info("a request was refused: %d %s", problem.status, problem.code, extra=fields)


def _path(exchange: Exchange) -> str:
    raw = exchange.scope.get("raw_path") or quote(exchange.scope["path"]).encode()
    path = raw.partition(b"?")[0].decode("ascii", "backslashreplace")
    return path if len(path) <= _MAX_PATH_CHARS else f"{path[:_MAX_PATH_CHARS]}…"
