"""The bounded queue of chunks between a run and its one subscriber."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from flowcore.schema import FlowStreamChunk
from flowcore.wakeup import Wakeup


class OwnedChunk(NamedTuple):
    """A chunk that belongs to one run, and the size of its content in bytes."""

    chunk: FlowStreamChunk
    size: int


class Channel:
    """Carries chunks in order; a full channel makes the sender wait.

    What waits may have another form than that of chunks: to the channel it is all the same.

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
        self._queue: list[Any] = []
        self._max_chunks = max_chunks
        self._max_bytes = max_bytes
        self._drained: anyio.Event | None = None
        self._notify: Callable[[], object] | None = None
        self._closed = False
        self._last: Sequence[FlowStreamChunk] = ()

    def push(self, chunk: object, size: int) -> bool:
        """Queue a chunk if there is room for it; return whether that is so."""
        if (
            self._closed
            or self.queued_bytes >= self._max_bytes
            or len(self._queue) >= self._max_chunks
        ):
            return False
        self._queue.append(chunk)
        self.queued_bytes += size
        if self._notify is not None:
            self._notify()
        return True

    async def send(self, item: OwnedChunk) -> None:
        """Queue a chunk, and wait before that where the channel is full.

        Only the waiting is a checkpoint: a task that does not wait was not cancelled since it
        last did, unless it cancels itself.

        Raises:
            anyio.ClosedResourceError: If the channel was closed.
        """
        if self.push(*item):
            return
        if not self._closed:
            await self._wait_for_room()
        if self._closed:
            raise anyio.ClosedResourceError
        # Even if others have filled the channel meanwhile: else one that never pauses could keep
        # it filled for ever.
        self.add(item)

    def add(self, item: OwnedChunk) -> None:
        """Queue a chunk, whether or not there is room for it, unless the channel was closed."""
        if not self._closed:
            self._queue.append(item.chunk)
            self.queued_bytes += item.size
            self._wake_reader()

    def close(self, last: Sequence[FlowStreamChunk] = ()) -> None:
        """Accept no more chunks; those in ``last`` are delivered after all that are queued.

        They need no room in the queue, so that the ending of a run never waits for its reader.
        """
        self._closed = True
        self._last = last
        self._wake_senders()
        self._wake_reader()

    def discard(self) -> None:
        """Drop what is queued, when nobody will read any more."""
        self._queue.clear()
        self.queued_bytes = 0
        self.close()

    async def receive(self) -> list[Any]:
        """Wait for a chunk and return it with all others that are ready, in order.

        An empty list means the end. However this is cancelled, nothing is lost: it waits for a
        sign that there is a chunk, and not for the chunk itself.
        """
        if self._queue or self._closed:
            # Senders may fill the channel whenever its reader is elsewhere: without this, a reader
            # that never has to wait here would not come to see that it was cancelled.
            await checkpoint_if_cancelled()
        while not (self._queue or self._closed):
            wakeup = Wakeup()
            self._notify = wakeup.wake
            try:
                await wakeup
            finally:
                self._notify = None
        return self.receive_ready()

    def listen(self, notify: Callable[[], object] | None) -> None:
        """Have a function called at each chunk that is queued, and at the end, instead of waiting.

        It is called in the very step of the sender, so it must be quick and raise nothing.
        """
        self._notify = notify

    def receive_ready(self) -> list[Any]:
        """Return the chunks that are ready, in order, without waiting."""
        ready, self._queue = self._queue, []
        self.queued_bytes = 0
        if self._closed:
            ready += self._last
            self._last = ()
        if self._drained is not None:
            self._wake_senders()
        return ready

    async def _wait_for_room(self) -> None:
        since = monotonic()
        self.waiting_senders += 1
        try:
            if self._drained is None:
                self._drained = anyio.Event()
            await self._drained.wait()
        finally:
            self.waiting_senders -= 1
            self.blocked_seconds += monotonic() - since

    def _wake_senders(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    def _wake_reader(self) -> None:
        if self._notify is not None:
            self._notify()
