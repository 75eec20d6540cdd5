"""The bounded queue of chunks between a run and its one subscriber."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from flowcore.schema import FlowStreamChunk


class OwnedChunk(NamedTuple):
    """A chunk that belongs to one run, and the size of its content in bytes."""

    chunk: FlowStreamChunk
    size: int


class Channel:
    """Carries chunks in order; a full channel makes the sender wait.

    The bound counts chunks and bytes: the memory that a slow reader can claim is at most
    ``max_bytes``, and one chunk more for each op that sends at the same time.

    Args:
        max_chunks: How many chunks may wait.
        max_bytes: How many bytes of content may wait.

    Attributes:
        queued_bytes: How many bytes of content wait now.
        waiting_senders: How many senders wait for room now.
        blocked_seconds: How long senders have waited for room, all together.
    """

    def __init__(self, max_chunks: int, max_bytes: int) -> None:
        self.queued_bytes = 0
        self.waiting_senders = 0
        self.blocked_seconds = 0.0
        self._queue: deque[OwnedChunk] = deque()
        self._max_chunks = max_chunks
        self._max_bytes = max_bytes
        self._drained: anyio.Event | None = None
        self._filled: anyio.Event | None = None
        self._closed = False
        self._last: Sequence[FlowStreamChunk] = ()

    async def send(self, item: OwnedChunk) -> None:
        """Queue a chunk, and wait before that where the channel is full.

        Raises:
            anyio.ClosedResourceError: If the channel was closed.
        """
        await checkpoint_if_cancelled()
        if self._is_full():
            await self._wait_for_room()
        if self._closed:
            raise anyio.ClosedResourceError
        self._queue.append(item)
        self.queued_bytes += item.size
        self._wake_reader()

    def close(self, last: Sequence[FlowStreamChunk] = ()) -> None:
        """Accept no more chunks; those in ``last`` are delivered after all that are queued.

        They need no room in the queue, so that the ending of a run never waits for its reader.
        """
        self._closed = True
        self._last = last
        # What still waits for room finds the channel closed.
        self._max_chunks = self._max_bytes = sys.maxsize
        self._wake_senders()
        self._wake_reader()

    def discard(self) -> None:
        """Drop what is queued, when nobody will read any more."""
        self._queue.clear()
        self.queued_bytes = 0
        self.close()

    async def receive(self) -> list[FlowStreamChunk]:
        """Wait for a chunk and return it with all others that are ready, in order.

        An empty list means the end. However this is cancelled, nothing is lost: it waits for a
        sign that there is a chunk, and not for the chunk itself.
        """
        # A sender that never pauses keeps the channel filled: without this, its reader would never
        # come to see that it was cancelled.
        await checkpoint_if_cancelled()
        while not (self._queue or self._closed):
            self._filled = anyio.Event()
            await self._filled.wait()
        return self.receive_ready()

    def receive_ready(self) -> list[FlowStreamChunk]:
        """Return the chunks that are ready, in order, without waiting."""
        ready = [item.chunk for item in self._queue]
        self._queue.clear()
        self.queued_bytes = 0
        if self._closed:
            ready += self._last
            self._last = ()
        self._wake_senders()
        return ready

    def _is_full(self) -> bool:
        return len(self._queue) >= self._max_chunks or self.queued_bytes >= self._max_bytes

    async def _wait_for_room(self) -> None:
        since = monotonic()
        self.waiting_senders += 1
        try:
            if self._drained is None:
                self._drained = anyio.Event()
            # Whoever was woken sends, even if others have filled the channel meanwhile: else one
            # that never pauses could keep it filled for ever.
            await self._drained.wait()
        finally:
            self.waiting_senders -= 1
            self.blocked_seconds += monotonic() - since

    def _wake_senders(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    def _wake_reader(self) -> None:
        if self._filled is not None:
            self._filled.set()
            self._filled = None
