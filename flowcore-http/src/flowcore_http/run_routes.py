"""The endpoints for runs: how one is doing, cancelling it, and reading it again after a cut."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from flowcore_http.endpoint import Endpoint, check_method
from flowcore_http.exchange import JSON, Exchange
from flowcore_http.heartbeat import Heartbeat
from flowcore_http.problem import HttpProblem
from flowcore_http.runs import RunRecord, RunRegister
from flowcore_http.siblings import Siblings
from flowcore_http.stream import event_stream_headers, send_events
from flowcore_http.wire import encode_json, parse_event_id


class RunRoutes:
    """Answers requests about runs.

    Args:
        register: The runs.
        heartbeat: Seconds of silence after which a stream gets a comment.

    Attributes:
        siblings: The other processes of the service, which are asked about unknown runs; or None.
    """

    def __init__(self, register: RunRegister, heartbeat: float) -> None:
        self.siblings: Siblings | None = None
        self._register = register
        self._heartbeat = Heartbeat(heartbeat)
        self._questions = {
            "": _Question("run", "GET", _describe),
            "/cancel": _Question("cancel_run", "POST", _cancel),
            "/events": _Question("run_events", "GET", self._events),
        }

    def find(self, path: str) -> Endpoint | None:
        """Return the endpoint at a path below ``/runs/``, if there is one."""
        run_id, slash, rest = path.removeprefix("/runs/").partition("/")
        question = self._questions.get(slash + rest)
        if question is None or not run_id:
            return None
        answer = partial(self._answer, question, run_id)
        return Endpoint(question.name, f"/runs/<run_id>{slash}{rest}", answer)

    async def _answer(self, question: _Question, run_id: str, exchange: Exchange) -> None:
        if not await check_method(exchange, question.method):
            return
        if (record := self._find(run_id, exchange)) is None:
            await self._elsewhere(exchange)
        else:
            await question.answer(record, exchange)

    async def _events(self, record: RunRecord, exchange: Exchange) -> None:
        event_id = exchange.field(b"last-event-id")
        parsed = parse_event_id(event_id) if event_id else (record.id, 0)
        if parsed is None or parsed[0] != record.id:
            raise _unknown_event()
        await self._read_on(exchange, record, parsed[1])

    async def resume(self, exchange: Exchange, flow: str, event_id: str) -> None:
        """Answer a request for a flow that names the last event it has seen, with the rest.

        Raises:
            HttpProblem: 404 if there is no such run of this flow.
        """
        parsed = parse_event_id(event_id)
        record = self._find(parsed[0], exchange) if parsed is not None else None
        if parsed is None or (record is not None and record.flow != flow):
            raise unknown_run()
        if record is None:
            await self._elsewhere(exchange)
        else:
            await self._read_on(exchange, record, parsed[1])

    def stream(self, exchange: Exchange, record: RunRecord, number: int = 0) -> Awaitable[None]:
        """Take a run for read, and return what sends its events after ``number``."""
        register = self._register
        assert record.replay is not None  # noqa: S101 - for the type checker
        register.attach(record)
        exchange.at_end(partial(register.detach, record))
        return send_events(exchange, record.replay, number, self._heartbeat)

    async def _read_on(self, exchange: Exchange, record: RunRecord, number: int) -> None:
        exchange.run_id = record.id
        if record.replay is None:
            detail = f"Flow {record.flow!r} is not streamed; its runs have no events."
            raise HttpProblem(409, "not_streamed", detail)
        if number > record.replay.last:
            raise _unknown_event()
        if record.replay.ended and number == record.replay.last:
            if exchange.method != "POST":
                # An EventSource takes this as the sign not to connect again.
                await exchange.start(204, [(b"x-run-id", record.id.encode())])
                await exchange.write(b"", more=False)
                return
            # Clients that repeat a POST would not: they get the end mark, which they may have lost.
            number -= 1
        if exchange.method == "HEAD":
            # A reader that takes nothing must not be one.
            await exchange.start(200, event_stream_headers(record.id))
            await exchange.write(b"", more=False)
            return
        await self.stream(exchange, record, number)

    def _find(self, run_id: str, exchange: Exchange) -> RunRecord | None:
        return self._register.find(run_id, exchange.caller)

    async def _elsewhere(self, exchange: Exchange) -> None:
        answer = None if self.siblings is None else await self.siblings.ask(exchange)
        if answer is None:
            raise unknown_run()
        await answer.pass_on(exchange)


def unknown_run() -> HttpProblem:
    """Return the problem that answers requests about a run that is unknown, or not the caller's."""
    detail = (
        "There is no such run, or it ended too long ago. To run the flow again, send the request "
        "without Last-Event-ID."
    )
    return HttpProblem(404, "unknown_run", detail)


def _unknown_event() -> HttpProblem:
    return HttpProblem(400, "invalid_last_event_id", "Last-Event-ID is no event of this run.")


class _Question(NamedTuple):
    """What can be asked about a run: the endpoint's name, its method, and what answers."""

    name: str
    method: str
    answer: Callable[[RunRecord, Exchange], Awaitable[None]]


async def _cancel(record: RunRecord, exchange: Exchange) -> None:
    record.cancel("api")
    await _describe(record, exchange)


async def _describe(record: RunRecord, exchange: Exchange) -> None:
    exchange.run_id = record.id
    headers = [*JSON, (b"x-run-id", record.id.encode())]
    await exchange.answer(200, headers, encode_json(record.describe()).encode())
