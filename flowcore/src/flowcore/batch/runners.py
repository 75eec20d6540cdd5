"""What runs a row: an app in this process, or a server elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import anyio

from flowcore.app import FlowApp
from flowcore.calling import described_flow
from flowcore.errors import AppBusyError, ChunkError, FlowcoreError, InputError, UnknownNameError
from flowcore.failure import error_text
from flowcore.payload import json_bytes
from flowcore.schema import ChunkEnum, FlowResponse, FlowStreamChunk
from flowcore.service import FlowClient
from flowcore.stream import Answer, join_answers, read_response

BUSY_SECONDS = 300.0
"""How long a row waits for an app or a server that is busy."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""How large an answer may be that a server streams."""

_PAUSE = 0.25
_LONGEST_PAUSE = 30.0
_BUSY = (429, 503)


@dataclass
class Outcome:
    """What came of a row.

    Attributes:
        response: What the flow answered, if it did.
        error: Why the row failed: ``code`` and ``message``, and ``error_id`` and ``op`` where
            there are any; None if it did not.
        usage: The sums of what the run reported in ``usage`` chunks, by name.
        flow_id: Identifier of the run, where it is known.
    """

    response: FlowResponse | None = None
    error: Mapping[str, Any] | None = None
    usage: dict[str, float] = field(default_factory=dict[str, float])
    flow_id: str = ""

    def add_usage(self, usage: object) -> None:
        """Add the numbers of one report."""
        if isinstance(usage, Mapping):
            for name, value in cast("Mapping[str, object]", usage).items():
                if isinstance(value, int | float):
                    self.usage[name] = self.usage.get(name, 0) + value

    def add_usage_of(self, chunk: FlowStreamChunk) -> None:
        """Add what a chunk reports, if it is one of those that do."""
        if chunk.chunk_type is ChunkEnum.USAGE:
            self.add_usage(chunk.chunk)

    def fail(self, code: str, message: str) -> None:
        """Note why the row failed."""
        self.error = {"code": code, "message": message}

    def fail_as_told(self, message: str, metadata: Mapping[str, Any]) -> None:
        """Note why the row failed, as an error chunk tells it."""
        self.error = {"code": "op_failed", "message": message, **metadata}


class BusyError(Exception):
    """An app or a server takes no further run for the moment.

    Args:
        code: Code of what it said.
        message: What it said.
        seconds: When to ask again, where it said so.
    """

    def __init__(self, code: str, message: str, seconds: float = 0) -> None:
        super().__init__(message)
        self.code = code
        self.seconds = seconds


class Runner(Protocol):
    """Runs a flow with the inputs of a row."""

    async def run(self, inputs: Mapping[str, Any]) -> Outcome:
        """Run the flow to its end; a failure is in the outcome and not raised.

        Raises:
            BusyError: If it cannot be run now.
        """
        ...


async def runner_for(where: FlowApp | FlowClient, flow: str) -> Runner:
    """Return what runs a flow in an app or on a server.

    Raises:
        UnknownNameError: If there is no such flow.
        FlowcoreError: If the server cannot be reached.
    """
    if isinstance(where, FlowApp):
        if flow not in where.flows:
            raise UnknownNameError("flow", flow, where.flows)
        return _LocalRunner(where, flow)
    streams, _ = await described_flow(where, flow)
    return _RemoteRunner(where, flow, streams=streams)


async def run_patiently(runner: Runner, inputs: Mapping[str, Any]) -> Outcome:
    """Run a flow, and wait where the app or the server is busy, but not for ever."""
    deadline = anyio.current_time() + BUSY_SECONDS
    while True:
        try:
            return await runner.run(inputs)
        except BusyError as busy:
            if anyio.current_time() > deadline:
                outcome = Outcome()
                outcome.fail(busy.code, str(busy))
                return outcome
            pause = busy.seconds or _PAUSE
        await anyio.sleep(min(pause, _LONGEST_PAUSE))


class _LocalRunner:
    def __init__(self, app: FlowApp, flow: str) -> None:
        self._app = app
        self._flow = flow

    async def run(self, inputs: Mapping[str, Any]) -> Outcome:
        outcome = Outcome()
        try:
            run = self._app.start(self._flow, inputs)
        except AppBusyError as error:
            raise BusyError(error.code, str(error)) from None
        except InputError as error:
            outcome.fail(error.code, str(error))
            return outcome
        outcome.flow_id = run.id
        try:
            outcome.response = await read_response(run, others=outcome.add_usage_of)
        except Exception:
            if run.failure is None:
                raise
            outcome.fail_as_told(str(run.failure.chunk), run.failure.metadata)
        return outcome


class _RemoteRunner:
    def __init__(self, client: FlowClient, flow: str, *, streams: bool) -> None:
        self._client = client
        self._flow = flow
        self._streams = streams

    async def run(self, inputs: Mapping[str, Any]) -> Outcome:
        outcome = Outcome()
        try:
            if self._streams:
                await self._read_stream(inputs, outcome)
            else:
                outcome.response = await self._client.execute_flow(self._flow, **inputs)
        except FlowcoreError as error:
            problem: Mapping[str, Any] = getattr(error, "problem", {})
            known = {name: problem[name] for name in ("code", "error_id") if problem.get(name)}
            about = {"code": error.code, **known}
            seconds: float = getattr(error, "retry_after", 0)
            if getattr(error, "status", None) in _BUSY and seconds:
                raise BusyError(str(about["code"]), error_text(error), seconds) from None
            outcome.fail_as_told(error_text(error), about)
        return outcome

    async def _read_stream(self, inputs: Mapping[str, Any], outcome: Outcome) -> None:
        answers: list[Answer] = []
        size = 0
        async for chunk in self._client.execute_stream_flow(self._flow, **inputs):
            content: Any = chunk["content"]
            outcome.flow_id = outcome.flow_id or chunk.get("flow_id", "")
            if chunk["type"] == ChunkEnum.USAGE:
                outcome.add_usage(content)
            elif chunk["type"] == ChunkEnum.ERROR:
                outcome.fail_as_told(str(content), chunk.get("metadata", {}))
            elif chunk["type"] == ChunkEnum.ANSWER:
                answers.append(content)
                size += len(json_bytes(content))
                if size > MAX_ANSWER_BYTES:
                    raise ChunkError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
        if outcome.error is None:
            outcome.response = FlowResponse(answer=join_answers(answers) if answers else "")
