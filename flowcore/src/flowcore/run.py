"""One execution of a flow: its id, its state, its channel, its cancel scope and its one ending."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from pydantic_core import from_json

from flowcore.channel import Channel, OwnedChunk
from flowcore.embedding import BaseEmbeddingModel
from flowcore.errors import ChunkError, FlowcoreError, RunCancelledError, RunFailedError
from flowcore.failure import error_text, outcome, user_traceback
from flowcore.llm import BaseLLM
from flowcore.payload import json_bytes, repair_surrogates
from flowcore.schema import ChunkEnum, FlowResponse, FlowStreamChunk
from flowcore.vector_store import BaseVectorStore

if TYPE_CHECKING:
    from flowcore.op import Op

logger = logging.getLogger("flowcore")


class RunState(StrEnum):
    """Where a run stands; it leaves ``running`` exactly once."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Resources(Protocol):
    """What a run's ops share with all other runs of the app."""

    language: str
    threads: anyio.CapacityLimiter

    def llm(self, name: str) -> BaseLLM:
        """Return the LLM of this name."""
        ...

    def embedding_model(self, name: str) -> BaseEmbeddingModel:
        """Return the embedding model of this name."""
        ...

    def vector_store(self, name: str) -> BaseVectorStore:
        """Return the vector store of this name."""
        ...


class Observer(Protocol):
    """Who is told of a run's life: the plugins, through the hooks of the same names."""

    def run_started(self, run: Run) -> None:
        """See ``flowcore_run_started``."""
        ...

    def run_finished(self, run: Run, error: BaseException | None) -> None:
        """See ``flowcore_run_finished``."""
        ...

    def op_started(self, run: Run, op: Op) -> None:
        """See ``flowcore_op_started``."""
        ...

    def op_finished(self, run: Run, op: Op, error: BaseException | None) -> None:
        """See ``flowcore_op_finished``."""
        ...

    def chunk(self, run: Run, chunk: FlowStreamChunk) -> None:
        """See ``flowcore_chunk``."""
        ...


class Run:
    """One execution of a flow. The app owns it; whoever reads its chunks is only a subscriber.

    Attributes:
        id: Unguessable identifier, 32 hexadecimal digits; ``flow_id`` of every chunk.
        flow: Name of the flow.
        state: Where the run stands.
        response: What the ops answer besides the stream.
        data: The values that the ops share; it begins as the inputs.
        error: Why the run failed, else None.
        failure: The error chunk of a failed run, which tells of the error in safe words; else None.
        cancel_reason: Who cancelled the run, such as ``"client"``; else empty.
        started_at: Time of the start, in seconds since the epoch.
    """

    def __init__(
        self,
        flow: str,
        inputs: Mapping[str, Any],
        resources: Resources,
        *,
        observer: Observer | None = None,
        max_chunks: int = 256,
        max_bytes: int = 1024 * 1024,
    ) -> None:
        self.id = secrets.token_hex(16)
        self.flow = flow
        self.state = RunState.RUNNING
        self.response = FlowResponse()
        self.data: dict[str, Any] = dict(inputs)
        self.error: Exception | None = None
        self.failure: FlowStreamChunk | None = None
        self.cancel_reason = ""
        self.started_at = time.time()
        self.resources = resources
        self.observer = observer
        self._channel = Channel(max_chunks, max_bytes)
        self._scope = anyio.CancelScope()
        self._finished = anyio.Event()
        self._stopped_by: Exception | None = None
        self._answered = False
        self._ended_by = ""
        self._drop_logged = False
        self._failed_op = ""

    def __repr__(self) -> str:
        return f"<Run {self.id} of flow {self.flow!r}: {self.state}>"

    # --- for subscribers ---

    async def receive(self) -> list[FlowStreamChunk]:
        """Wait for a chunk and return all that are ready, in order; an empty list is the end.

        The last chunk of a failed run is its one ``error`` chunk. A cancelled ``receive`` loses
        nothing. Only one task at a time may read a run.
        """
        return await self._channel.receive()

    def cancel(self, reason: str = "caller") -> None:
        """Stop the run: its ops see a cancellation at their next await.

        A reader that leaves calls this in any case: what a finished run still holds is freed.

        Args:
            reason: Who cancels, for logs and observers; the first one counts.
        """
        if self.state is not RunState.RUNNING:
            self._channel.discard()
        elif not self._scope.cancel_called:
            self.cancel_reason = reason
            self._scope.cancel()

    def fail(self, error: Exception) -> None:
        """Stop the run as :meth:`cancel` does, and let it end as failed with this error."""
        if self.state is RunState.RUNNING and not self._scope.cancel_called:
            self._stopped_by = error
            self._scope.cancel()

    async def wait(self) -> None:
        """Wait until the run has ended, whatever its ending; it needs a reader to get there."""
        await self._finished.wait()

    def raise_for_state(self) -> None:
        """Raise what ended the run, unless it is done.

        Raises:
            RunCancelledError: If it was cancelled.
            Exception: If it failed: the very exception that the op raised.
        """
        if self.state is RunState.CANCELLED:
            raise RunCancelledError(f"run {self.id} of flow {self.flow!r} was cancelled")
        if self.error is not None:
            raise self.error

    # --- for ops, through their context ---

    def accept(self, chunk: FlowStreamChunk, op: str) -> OwnedChunk | None:
        """Take a chunk from an op: check it, copy it, and tell observers.

        Returns:
            What :meth:`send` takes, or None if the chunk is not for sending: an empty text, or
            one after the end of the stream.

        Raises:
            RunFailedError: If it is an error chunk. To emit one is to fail: the run sends it as
                its ending, unless the op catches this, falls back or is tried again.
            ChunkError: If the payload has no JSON form.
        """
        # Ops are not all type-checked.
        if not isinstance(chunk, FlowStreamChunk):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ChunkError(
                f"op {op!r} emitted {str(chunk)[:100]!r}, which is not a FlowStreamChunk; "
                "for a text write FlowStreamChunk(chunk=…)"
            )
        kind = chunk.chunk_type
        if kind == ChunkEnum.ERROR:
            raise RunFailedError(_text(chunk.chunk) or "the op reported an error", chunk.metadata)
        if kind == ChunkEnum.DONE:
            self._ended_by = f"the done chunk of op {op!r}"
            return None
        if self._ended_by:
            self._drop(op)
        if self._ended_by or chunk.chunk == "":
            return None
        owned = self._own(chunk, op)
        if self.observer is not None:
            self.observer.chunk(self, owned.chunk)
        if owned.chunk.chunk_type is ChunkEnum.ANSWER:
            self._answered = True
        return owned

    async def send(self, owned: OwnedChunk, op: str) -> None:
        """Queue an accepted chunk, and wait where the reader is slow."""
        try:
            await self._channel.send(owned)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._ended_by = "the end of the run"
            self._drop(op)

    def blame(self, op: str) -> None:
        """Remember the first op that failed, for the error chunk."""
        self._failed_op = self._failed_op or op

    def _own(self, chunk: FlowStreamChunk, op: str) -> OwnedChunk:
        # A copy, for the op may keep the chunk, change it or send it to other runs as well; and a
        # checked one, for assignments to a chunk's fields are not.
        payload, metadata = chunk.chunk, chunk.metadata
        size = 0
        try:
            if not isinstance(payload, str):
                text = json_bytes(payload)
                size += len(text)
                payload = from_json(text)
            elif payload.isascii():
                size += len(payload)
            else:
                payload = repair_surrogates(payload)
                size += len(payload.encode())
            if metadata:
                text = json_bytes(metadata)
                size += len(text)
                metadata = from_json(text)
            owned = FlowStreamChunk(
                flow_id=self.id,
                chunk_type=chunk.chunk_type,
                chunk=payload,
                done=chunk.done,
                metadata=metadata,
            )
        except ValueError as error:  # pydantic's ValidationError is one
            what = f"a chunk of type {str(chunk.chunk_type)[:100]}"
            raise ChunkError(
                f"op {op!r} emitted {what} that cannot be streamed: {error_text(error)}"
            ) from None
        return OwnedChunk(owned, size)

    def _drop(self, op: str) -> None:
        if not self._drop_logged:
            self._drop_logged = True
            logger.warning(
                "run %s: dropped what op %r emitted after %s", self.id, op, self._ended_by
            )

    # --- for the app ---

    async def execute(self, body: Callable[[], Awaitable[object]]) -> None:
        """Run ``body`` to one of the three endings; called once, by the app, in a task of its own.

        Whatever the body does, this raises nothing but the cancellation of its task.
        """
        state = RunState.CANCELLED
        if self.observer is not None:
            self.observer.run_started(self)
        try:
            with self._scope:
                self.error = await outcome(body)
                state = RunState.DONE if self.error is None else RunState.FAILED
            if state is RunState.CANCELLED and self._stopped_by is not None:
                state, self.error = RunState.FAILED, self._stopped_by
        finally:
            self._end(state)

    def _end(self, state: RunState) -> None:
        last: FlowStreamChunk | None = None
        if state is RunState.DONE:
            try:
                last = self._unstreamed_answer()
            except ChunkError as error:
                state, self.error = RunState.FAILED, error
        if state is RunState.FAILED:
            last = self.failure = self._error_chunk(self.error)
        self.state = state
        self._channel.close(last)
        if state is RunState.CANCELLED:
            self._channel.discard()
            logger.info("run %s of flow %r: cancelled (%s)", self.id, self.flow, self.cancel_reason)
        self._finished.set()
        if self.observer is not None:
            self.observer.run_finished(self, self.error)

    def _unstreamed_answer(self) -> FlowStreamChunk | None:
        response = self.response
        if response.answer == "" and not response.metadata:
            return None
        chunk = FlowStreamChunk.model_construct(
            chunk_type=ChunkEnum.ANSWER,
            chunk=response.answer,
            done=False,
            metadata=response.metadata,
        )
        chunk = self._own(chunk, self.flow).chunk
        response.answer, response.metadata = chunk.chunk, chunk.metadata
        return None if self._answered or response.answer == "" else chunk

    def _error_chunk(self, error: BaseException | None) -> FlowStreamChunk:
        error_id = secrets.token_hex(6)
        metadata: dict[str, Any] = {"code": "op_failed", "error_id": error_id}
        if isinstance(error, FlowcoreError):
            metadata["code"] = error.code
        if isinstance(error, RunFailedError):
            # Whatever is wrong with its metadata, the error itself has to be told.
            with suppress(Exception):
                metadata.update(from_json(json_bytes(error.metadata, fallback=str)))
        if self._failed_op:
            metadata["op"] = self._failed_op
        text = error_text(error)
        # The text of our own errors says it all; an op's exception needs its place.
        ours = isinstance(error, FlowcoreError) and not logger.isEnabledFor(logging.DEBUG)
        logger.error(
            "run %s of flow %r failed (error id %s): %s",
            *(self.id, self.flow, error_id, text),
            exc_info=None if ours or error is None else (type(error), error, user_traceback(error)),
        )
        return FlowStreamChunk(
            flow_id=self.id, chunk_type=ChunkEnum.ERROR, chunk=text, metadata=metadata
        )


def _text(payload: object) -> str:
    return payload if isinstance(payload, str) else json_bytes(payload).decode()
