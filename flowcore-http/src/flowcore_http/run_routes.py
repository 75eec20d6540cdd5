"""The endpoints for runs: how one is doing, cancelling it, and reading it again after a cut."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from quart import Quart, Request, Response, g, request

from flowcore_http.inflight import at_end
from flowcore_http.problem import HttpProblem
from flowcore_http.runs import RunRecord, RunRegister
from flowcore_http.stream import event_stream, stream_response
from flowcore_http.wire import encode_json, parse_event_id

SIBLINGS = "flowcore_http.siblings"
"""Under this name an app's extensions hold what asks the other processes about a run."""


class RunRoutes:
    """Answers requests about runs.

    Args:
        quart: The app to add the endpoints to.
        register: The runs.
        heartbeat: Seconds of silence after which a stream gets a comment.
    """

    def __init__(self, quart: Quart, register: RunRegister, heartbeat: float) -> None:
        self._quart = quart
        self._register = register
        self._heartbeat = heartbeat
        quart.add_url_rule("/runs/<run_id>", "run", self._show)
        quart.add_url_rule("/runs/<run_id>/cancel", "cancel_run", self._cancel, methods=["POST"])
        quart.add_url_rule("/runs/<run_id>/events", "run_events", self._events)

    async def _show(self, run_id: str) -> Response:
        record = self._find(run_id)
        return await self._elsewhere() if record is None else _description(record)

    async def _cancel(self, run_id: str) -> Response:
        record = self._find(run_id)
        if record is None:
            return await self._elsewhere()
        record.cancel("api")
        return _description(record)

    async def _events(self, run_id: str) -> Response:
        record = self._find(run_id)
        if record is None:
            return await self._elsewhere()
        event_id = request.headers.get("Last-Event-ID", "")
        parsed = parse_event_id(event_id) if event_id else (run_id, 0)
        if parsed is None or parsed[0] != run_id:
            raise _unknown_event()
        return self._stream(record, parsed[1])

    async def resume(self, flow: str) -> Response | None:
        """Return the rest of a run, if the request for a flow names the last event it has seen.

        Raises:
            HttpProblem: 404 if there is no such run of this flow.
        """
        event_id = request.headers.get("Last-Event-ID", "")
        if not event_id:
            return None
        parsed = parse_event_id(event_id)
        record = self._find(parsed[0]) if parsed is not None else None
        if parsed is None or (record is not None and record.flow != flow):
            raise unknown_run()
        return await self._elsewhere() if record is None else self._stream(record, parsed[1])

    def stream(self, record: RunRecord, number: int = 0) -> Response:
        """Return the response that streams the events of a run after ``number``."""
        register = self._register
        assert record.replay is not None  # noqa: S101 - for the type checker
        register.attach(record)
        at_end(request, lambda reason: register.detach(record, reason))
        return stream_response(record.id, record.replay, number, self._heartbeat)

    def _stream(self, record: RunRecord, number: int) -> Response:
        if record.replay is None:
            detail = f"Flow {record.flow!r} is not streamed; its runs have no events."
            raise HttpProblem(409, "not_streamed", detail)
        if number > record.replay.last:
            raise _unknown_event()
        if record.replay.ended and number == record.replay.last:
            if request.method != "POST":
                # An EventSource takes this as the sign not to connect again.
                response = Response(status=204, headers={"X-Run-Id": record.id})
                del response.headers["Content-Type"]
                return response
            # Clients that repeat a POST would not: they get the end mark, which they may have lost.
            number -= 1
        if request.method == "HEAD":
            # A reader that takes nothing must not be one.
            return event_stream(record.id)
        return self.stream(record, number)

    def _find(self, run_id: str) -> RunRecord | None:
        return self._register.find(run_id, g.caller)

    async def _elsewhere(self) -> Response:
        ask: Callable[[Request], Awaitable[Response | None]] | None
        ask = self._quart.extensions.get(SIBLINGS)
        response = None if ask is None else await ask(request)
        if response is None:
            raise unknown_run()
        return response


def unknown_run() -> HttpProblem:
    """Return the problem that answers requests about a run that is unknown, or not the caller's."""
    detail = (
        "There is no such run, or it ended too long ago. To run the flow again, send the request "
        "without Last-Event-ID."
    )
    return HttpProblem(404, "unknown_run", detail)


def _unknown_event() -> HttpProblem:
    return HttpProblem(400, "invalid_last_event_id", "Last-Event-ID is no event of this run.")


def _description(record: RunRecord) -> Response:
    return Response(
        encode_json(record.describe()),
        content_type="application/json",
        headers={"Cache-Control": "no-store", "X-Run-Id": record.id},
    )
