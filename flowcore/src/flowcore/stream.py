"""Reading a run: chunk by chunk, or to its end for the whole answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Generic, Self, TypeVar

import anyio

from flowcore.ending import RunState
from flowcore.errors import ChunkError
from flowcore.payload import json_bytes
from flowcore.run import Run
from flowcore.schema import ChunkEnum, FlowResponse, FlowStreamChunk
from flowcore.trace import OpEvent

T = TypeVar("T")

Answer = str | dict[str, Any] | list[Any]

CANCEL_TIMEOUT = 5.0
"""How long the cleanup of a cancelled run may take before its reader goes on, in seconds."""


class _Stream(Generic[T]):
    def __init__(self, run: Run, receive: Callable[[], Awaitable[Sequence[T]]]) -> None:
        self.run = run
        self._receive = receive
        self._ready: Iterator[T] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        for item in self._ready:
            return item
        batch = await self._receive()
        if not batch:
            self.run.raise_for_state()
            raise StopAsyncIteration
        self._ready = iter(batch)
        return next(self._ready)


class ChunkStream(_Stream[FlowStreamChunk]):
    """The chunks of one run, to be iterated over once.

    Attributes:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run, run.receive)


class TraceStream(_Stream[FlowStreamChunk | OpEvent]):
    """The chunks of one run, and the events of its ops, to be iterated over once.

    Attributes:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        assert run.trace is not None  # noqa: S101 - for the type checker: it was asked for
        super().__init__(run, run.trace.receive)


async def leave(run: Run) -> None:
    """Stop reading a run: cancel it if it has not ended, and wait for its cleanup."""
    if run.state is RunState.RUNNING:
        run.cancel()
        with anyio.move_on_after(CANCEL_TIMEOUT, shield=True):
            await run.wait()
    run.cancel()


async def read_response(
    run: Run, *, others: Callable[[FlowStreamChunk], object] | None = None
) -> FlowResponse:
    """Read a run to its end and return its response; cancelling this cancels the run.

    The answer is what the ops set as ``context.response.answer``; where they set none, it is what
    they streamed as ``answer``: the joined texts, or a list where not all of it is text.

    Args:
        run: The run.
        others: Called with each chunk that is no ``answer``, such as ``usage``.

    Raises:
        ChunkError: If what they streamed is larger than ``max_answer_bytes``.
        RunCancelledError: If the run was cancelled by others.
        Exception: Whatever an op raised, as it was raised.
    """
    answers: list[Answer] = []
    size, limit = 0, run.limits.max_answer_bytes
    try:
        while batch := await run.receive():
            if others is not None:
                for chunk in batch:
                    if chunk.chunk_type is not ChunkEnum.ANSWER:
                        others(chunk)
            payloads = [chunk.chunk for chunk in batch if chunk.chunk_type is ChunkEnum.ANSWER]
            if not payloads or size > limit:
                continue
            answers += payloads
            size += len(json_bytes(payloads)) - len(payloads) - 1  # brackets and commas
            if size > limit:
                answers.clear()
                text = f"the answer of flow {run.flow!r} is larger than max_answer_bytes, {limit}"
                run.fail(ChunkError(text))
        run.raise_for_state()
    except BaseException:
        await leave(run)
        raise
    response = run.response
    if response.answer == "" and answers:
        response.answer = join_answers(answers)
    return response


def join_answers(answers: list[Answer]) -> Answer:
    """Return what the contents of ``answer`` chunks are together: a text if all are texts."""
    if all(isinstance(answer, str) for answer in answers):
        return "".join(map(str, answers))
    return answers[0] if len(answers) == 1 else answers
