"""One execution of a flow: its id, its state, its channel, its cancel scope and its one ending."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from os import urandom
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from flowcore.channel import Channel, OwnedChunk
from flowcore.cleanup import Cleanup
from flowcore.emission import check_chunk, own_answer, own_pieces, text_chunk, text_size
from flowcore.ending import RunState, cancelled_chunk, error_chunk, warn_of_lost_value
from flowcore.errors import RunCancelledError
from flowcore.limits import RunLimits
from flowcore.schema import ChunkEnum, FlowResponse, FlowStreamChunk
from flowcore.surroundings import Observer, Resources
from flowcore.trace import Trace

if TYPE_CHECKING:
    from flowcore.op import Op

logger = logging.getLogger("flowcore")

_ANSWER = ChunkEnum.ANSWER


class Run:
    """One execution of a flow. The app owns it; whoever reads its chunks is only a subscriber.

    Attributes:
        id: Unguessable identifier, 32 hexadecimal digits; ``flow_id`` of every chunk.
        flow: Name of the flow.
        state: Where the run stands.
        data: The values that the ops share; it begins as the inputs.
        error: Why the run failed, else None.
        failure: The error chunk with which a run ends that has failed or was cancelled; else None.
        cancel_reason: Who cancelled the run, such as ``"client"``; else empty.
        abandoned: Whether the run ended without ops that ignored their cancellation.
        returned_by: Name of the last op that returned a value; else empty.
        active_ops: The ops that are running.
        cleanup: The cleanup of ops that were cancelled.
        limits: What bounds the run.
        resources: What it shares with other runs: models, stores and threads.
        trace: What tells of its ops, if that was asked for; else None.
        chunks: How many chunks the ops have emitted.
        started_at: Time of the start, in seconds since the epoch.
        first_chunk_at: Time of the first chunk that an op emitted, likewise; 0 before it.
        ended_at: Time of the end, likewise; 0 before it.
    """

    # Without them each run would have a dict, which is larger than all that it holds.
    __slots__ = (
        *("__weakref__", "_answered", "_callbacks", "_channel", "_drop_logged", "_encode"),
        *("_ended_by", "_failed_op", "_finished", "_flowing", "_known_chunks", "_last_data"),
        *("_response", "_stopped_by", "_watched", "abandoned", "active_ops", "began"),
        *("cancel_reason", "chunks", "cleanup", "data", "ended_at", "error", "failure"),
        *("first_chunk_at", "flow", "id", "limits", "observer", "resources", "returned_by"),
        *("scope", "started_at", "state", "stopping_since", "trace"),
    )

    def __init__(
        self,
        flow: str,
        inputs: Mapping[str, Any],
        resources: Resources,
        *,
        observer: Observer | None = None,
        limits: RunLimits | None = None,
        traced: bool = False,
        new_scope: Callable[[], anyio.CancelScope] = anyio.CancelScope,
    ) -> None:
        self.id = urandom(16).hex()
        self.flow = flow
        self.state = RunState.RUNNING
        self.data: dict[str, Any] = dict(inputs)
        self.error: Exception | None = None
        self.failure: FlowStreamChunk | None = None
        self.cancel_reason = ""
        self.abandoned = False
        self.returned_by = ""
        self.active_ops: list[Op] = []
        self.chunks = 0
        self.started_at = time()
        self.first_chunk_at = self.ended_at = 0.0
        self.resources = resources
        self.observer = observer
        self.limits = limits or RunLimits()
        self._response: FlowResponse | None = None
        self._watched = observer is not None and observer.sees_chunks
        self._channel = Channel(self.limits.max_chunks, self.limits.max_bytes)
        self.scope = new_scope()
        self.cleanup = Cleanup(new_scope)
        self.began = self._last_data = monotonic()
        self._known_chunks = 0
        self.trace = Trace(self._channel, self.began) if traced else None
        self._callbacks: tuple[Callable[[Run], object], ...] = ()
        self._finished: anyio.Event | None = None
        self.stopping_since = 0.0  # on the monotonic clock; 0 while nothing stops the run
        self._stopped_by: Exception | None = None
        self._failed_op = self._ended_by = ""
        self._answered = self._drop_logged = False
        self._flowing = False  # whether a text has but to be queued
        self._encode: Callable[[Any, ChunkEnum], object] | None = None

    def __repr__(self) -> str:
        return f"<Run {self.id} of flow {self.flow!r}: {self.state}>"

    # --- for subscribers ---

    @property
    def response(self) -> FlowResponse:
        """What the ops answer besides the stream."""
        if self._response is None:
            self._response = FlowResponse()
        return self._response

    async def receive(self) -> list[FlowStreamChunk]:
        """Wait for a chunk and return all that are ready, in order; an empty list is the end.

        The last chunk of a failed run is its one ``error`` chunk. A cancelled ``receive`` loses
        nothing. Only one task at a time may read a run.
        """
        if self.trace is not None:
            return await self.trace.receive_chunks()
        return await self._channel.receive()

    def receive_ready(self) -> list[FlowStreamChunk]:
        """Return the chunks that are ready, in order, without waiting."""
        if self.trace is not None:
            return self.trace.receive_ready_chunks()
        return self._channel.receive_ready()

    def encode_texts(self, encode: Callable[[str, ChunkEnum], object]) -> None:
        """Have chunks that are nothing but a text encoded in the step of the op that emits them.

        Who reads the run gets what ``encode(text, type)`` returns in their place: text and type of
        a chunk that is neither empty nor has metadata. It must be quick and raise nothing.
        """
        self._encode = encode

    def listen(self, notify: Callable[[], object] | None) -> None:
        """Have a function called whenever there is something to receive, instead of waiting for it.

        It is called in the step of the op that emits, and at the end of the run; what there is, it
        takes with :meth:`receive_ready`, at once or later. It must be quick and raise nothing.
        ``None`` ends this.
        """
        self._channel.listen(notify)

    @property
    def queued_bytes(self) -> int:
        """How many bytes of content wait for the reader."""
        return self._channel.queued_bytes

    @property
    def blocked_seconds(self) -> float:
        """How long ops have waited for the reader, all together."""
        return self._channel.blocked_seconds

    def cancel(self, reason: str = "caller") -> None:
        """Stop the run: its ops see a cancellation at their next await.

        A reader that leaves calls this in any case: what a finished run still holds is freed.

        Args:
            reason: Who cancels, for logs and observers; the first one counts.
        """
        if self.state is not RunState.RUNNING:
            self._channel.discard()
        elif not self.scope.cancel_called:
            self.cancel_reason = reason
            self._stop()

    def fail(self, error: Exception) -> None:
        """Stop the run as :meth:`cancel` does, and let it end as failed with this error."""
        if self.state is RunState.RUNNING and not self.scope.cancel_called:
            self._stopped_by = error
            self._stop()

    def _stop(self) -> None:
        self._flowing = False
        self.stopping_since = monotonic()
        self.scope.cancel()

    def add_done_callback(self, callback: Callable[[Run], object]) -> None:
        """Have ``callback(run)`` called once the run has ended; at once if it has.

        It must be quick. Those added first are called first; what one of them raises is logged.
        """
        if self.state is RunState.RUNNING:
            self._callbacks += (callback,)
        else:
            callback(self)

    async def wait(self) -> None:
        """Wait until the run has ended, whatever its ending; it needs a reader to get there."""
        if self.state is RunState.RUNNING:
            self._finished = self._finished or anyio.Event()
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

    def take(self, payload: Any, kind: Any) -> bool:
        """Queue what a bare chunk from an op says, if it is a text and nothing is in its way.

        Returns:
            Whether it is queued. If not, :meth:`accept` and :meth:`send` do what is to be done.
        """
        size = text_size(payload, kind) if self._flowing else 0
        if not 0 < size <= self.limits.max_chunk_bytes:
            return False
        encode = self._encode
        item = text_chunk(payload, self.id, kind) if encode is None else encode(payload, kind)
        if not self._channel.push(item, size):
            return False
        self.chunks += 1
        if kind is _ANSWER:
            self._answered = True
        return True

    def accept(self, chunk: FlowStreamChunk, op: str) -> list[OwnedChunk]:
        """Take a chunk from an op: check it, copy it, and tell observers.

        Returns:
            What :meth:`send` takes: the chunk; or its pieces, if it is a long text; or nothing, if
            it is an empty text or comes after the end of the stream.

        Raises:
            RunFailedError: If it is an error chunk. To emit one is to fail: the run sends it as
                its ending, unless the op catches this, falls back or is tried again.
            ChunkError: If the payload has no JSON form, or is too large.
        """
        check_chunk(chunk, op)
        if chunk.chunk_type == ChunkEnum.DONE:
            self._flowing = False
            self._ended_by = f"the done chunk of op {op!r}"
            return []
        if self._ended_by:
            self._drop(op)
        if self._ended_by or chunk.chunk == "":
            return []
        accepted = own_pieces(chunk, self.id, op, self.limits.max_chunk_bytes)
        if not self.chunks:
            self.first_chunk_at = time()
            self._flowing = not (self._watched or self.stopping_since)
        self.chunks += len(accepted)
        if self.observer is not None:
            for item in accepted:
                self.observer.chunk(self, item.chunk)
        if chunk.chunk_type == _ANSWER:
            self._answered = True
        return accepted

    async def send(self, owned: OwnedChunk, op: str) -> None:
        """Queue an accepted chunk, and wait where the reader is slow."""
        if self.stopping_since:
            await checkpoint_if_cancelled()
        try:
            await self._channel.send(owned)
        except anyio.ClosedResourceError:
            self._drop(op)

    def blame(self, op: str) -> None:
        """Remember the first op that failed, for the error chunk."""
        self._failed_op = self._failed_op or op

    def _drop(self, op: str) -> None:
        if not self._drop_logged:
            self._drop_logged = True
            text = "run %s: dropped what op %r emitted after %s"
            logger.warning(text, self.id, op, self._ended_by)

    # --- for the app ---

    def silence(self, now: float) -> float | None:
        """Return for how many seconds the ops have emitted nothing; None before the first chunk.

        At each chunk, a look at the clock would cost too much: it counts from the last call that
        found a new one, or an op that waits for a slow reader. ``now`` is on the monotonic clock.
        """
        if self.chunks != self._known_chunks or self._channel.waiting_senders:
            self._known_chunks = self.chunks
            self._last_data = now
        return now - self._last_data if self.chunks else None

    def end(self, state: RunState, error: Exception | None) -> None:
        """Bring the run to its one ending, and tell all who wait for it.

        Args:
            state: What its ops made of it; :meth:`fail`, and an answer that cannot be sent, make it
                a failure.
            error: Why they failed, else None.
        """
        if self.state is not RunState.RUNNING:
            return  # it was abandoned
        if state is RunState.CANCELLED and self._stopped_by is not None:
            state, error = RunState.FAILED, self._stopped_by
        last: list[FlowStreamChunk] = []
        if state is RunState.DONE:
            try:
                if self._response is not None:
                    limit = self.limits.max_chunk_bytes
                    answer = own_answer(self._response, self.id, self.flow, limit)
                    last = [] if self._answered else answer
                    self.chunks += len(last)
                if self.returned_by and not self.chunks:
                    warn_of_lost_value(self.flow, self.returned_by, self.response)
            except Exception as fault:  # noqa: BLE001 - it looks into what is the user's
                state, error = RunState.FAILED, fault
        if state is not RunState.DONE:
            self.failure = self._tell(error)
            last = [self.failure]
        self.error = error
        self.state = state
        self._flowing = False
        self._ended_by = self._ended_by or "the end of the run"
        self.ended_at = time()
        self._channel.close(last)
        if self._finished is not None:
            self._finished.set()
        if self.observer is not None:
            self.observer.run_finished(self, error)
        for callback in self._callbacks:
            try:
                callback(self)
            except Exception:
                logger.exception("run %s: what was to be called at its end failed", self.id)

    def _tell(self, error: Exception | None) -> FlowStreamChunk:
        if error is None:
            return cancelled_chunk(self.id, self.flow, self.cancel_reason)
        show = self.limits.show_errors
        return error_chunk(self.id, self.flow, error, op=self._failed_op, show=show)
