"""The bounded queue of chunks between a run and its one subscriber."""

from __future__ import annotations

import sys
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
    """

    def __init__(self, max_chunks: int, max_bytes: int) -> None:
        self._sender, self._receiver = anyio.create_memory_object_stream[OwnedChunk](max_chunks)
        self._max_bytes = max_bytes
        self._queued_bytes = 0
        self._drained: anyio.Event | None = None
        self._filled: anyio.Event | None = None
        self._last: FlowStreamChunk | None = None

    async def send(self, item: OwnedChunk) -> None:
        """Queue a chunk, and wait before that where the channel is full.

        Raises:
            anyio.ClosedResourceError: If the channel was closed.
            anyio.BrokenResourceError: If nobody will read it any more.
        """
        while self._queued_bytes >= self._max_bytes:
            if self._drained is None:
                self._drained = anyio.Event()
            await self._drained.wait()
        self._queued_bytes += item.size
        try:
            await self._sender.send(item)
        except BaseException:
            self._queued_bytes -= item.size
            self._wake_senders()
            raise
        self._wake_reader()

    def close(self, last: FlowStreamChunk | None = None) -> None:
        """Accept no more chunks; ``last`` is delivered after all that are queued.

        It needs no room in the queue, so that the ending of a run never waits for its reader.
        """
        self._last = last
        self._sender.close()
        self._wake_reader()

    def discard(self) -> None:
        """Drop what is queued and free both ends, when nobody will read any more."""
        self._last = None
        self._sender.close()
        self._receiver.close()
        # What still waits for room finds the channel closed.
        self._max_bytes = sys.maxsize
        self._wake_senders()
        self._wake_reader()

    async def receive(self) -> list[FlowStreamChunk]:
        """Wait for a chunk and return it with all others that are ready, in order.

        An empty list means the end. However this is cancelled, nothing is lost: it waits for a
        sign that there is a chunk, and not for the chunk itself.
        """
        # A sender that never pauses keeps the channel filled: without this, its reader would never
        # come to see that it was cancelled.
        await checkpoint_if_cancelled()
        ready: list[FlowStreamChunk] = []
        while True:
            try:
                while True:
                    item = self._receiver.receive_nowait()
                    self._queued_bytes -= item.size
                    ready.append(item.chunk)
            except anyio.WouldBlock:
                if ready:
                    break
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                self._receiver.close()
                if self._last is not None:
                    ready.append(self._last)
                    self._last = None
                break
            self._filled = anyio.Event()
            await self._filled.wait()
        self._wake_senders()
        return ready

    def _wake_senders(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    def _wake_reader(self) -> None:
        if self._filled is not None:
            self._filled.set()
            self._filled = None
