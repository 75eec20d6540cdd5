"""What a run tells of its ops, to those who asked for it: when each of them starts and ends."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Literal, cast

import anyio

from flowcore.channel import Channel, OwnedChunk
from flowcore.failure import failure_of
from flowcore.schema import FlowStreamChunk

OpState = Literal["started", "finished", "failed", "cancelled"]

_EVENT_BYTES = 128
"""About what an event takes in the queue of a run, counted as content."""


@dataclass(frozen=True, slots=True)
class OpEvent:
    """An op of a run has started or ended.

    Attributes:
        op: Its place in the flow, such as ``"0.1"``; ``data-op`` of its box in a diagram.
        name: Name of its class.
        state: What happened: ``"started"``, ``"finished"``, ``"failed"`` or ``"cancelled"``.
        at: When, in seconds since the start of the run.
    """

    op: str
    name: str
    state: OpState
    at: float


class Trace:
    """The events of the ops of one run, in order with its chunks.

    They wait for the reader in the same queue, and count against the same bound: an op does not
    start while there is no room to say so. What tells of the end of an op never waits.

    Args:
        channel: The queue of the run.
        began: When the run began, on the monotonic clock.
    """

    def __init__(self, channel: Channel, began: float) -> None:
        self._channel = channel
        self._began = began

    async def receive(self) -> list[FlowStreamChunk | OpEvent]:
        """Wait for a chunk or an event and return all that are ready; an empty list is the end."""
        return _items(await self._channel.receive())

    def receive_ready(self) -> list[FlowStreamChunk | OpEvent]:
        """Return the chunks and the events that are ready, in order, without waiting."""
        return _items(self._channel.receive_ready())

    async def receive_chunks(self) -> list[FlowStreamChunk]:
        """Wait for a chunk and return all that are ready; an empty list is the end."""
        while items := await self.receive():
            if chunks := _chunks(items):
                return chunks
        return []

    def receive_ready_chunks(self) -> list[FlowStreamChunk]:
        """Return the chunks that are ready, in order, without waiting."""
        return _chunks(self.receive_ready())

    async def started(self, place: str, op: object) -> None:
        """Tell that an op starts, as soon as there is room for it."""
        with suppress(anyio.ClosedResourceError):
            await self._channel.send(self._event(place, op, "started"))

    def ended(self, place: str, op: object, error: BaseException | None) -> None:
        """Tell that an op has ended, with an error or none."""
        state: OpState = "finished"
        if error is not None:
            state = "cancelled" if failure_of(error) is None else "failed"
        self._channel.add(self._event(place, op, state))

    def _event(self, place: str, op: object, state: OpState) -> OwnedChunk:
        event = OpEvent(place, type(op).__name__, state, round(monotonic() - self._began, 6))
        # To the queue it is all the same, and only here it is read.
        return OwnedChunk(cast("FlowStreamChunk", event), _EVENT_BYTES)


def _items(queued: list[FlowStreamChunk]) -> list[FlowStreamChunk | OpEvent]:
    return cast("list[FlowStreamChunk | OpEvent]", queued)


def _chunks(items: list[FlowStreamChunk | OpEvent]) -> list[FlowStreamChunk]:
    return [item for item in items if not isinstance(item, OpEvent)]
