"""The bounded queue of chunks between a run and its one subscriber."""

from __future__ import annotations

from typing import NamedTuple

import anyio

from flowcore.schema import FlowStreamChunk


class _Queued(NamedTuple):
    chunk: FlowStreamChunk
    size: int


class Channel:
    """Carries chunks in order; a full channel makes the sender wait.

    The bound counts chunks and bytes: the memory that a slow reader can claim is at most
    ``max_bytes`` and one more chunk for each op that sends.

    Args:
        max_chunks: How many chunks may wait.
        max_bytes: How many bytes of content may wait.
    """

    def __init__(self, max_chunks: int, max_bytes: int) -> None:
        self._sender, self._receiver = anyio.create_memory_object_stream[_Queued](max_chunks)
        self._max_bytes = max_bytes
        self._queued_bytes = 0
        self._drained: anyio.Event | None = None
        self._last: FlowStreamChunk | None = None

    async def send(self, chunk: FlowStreamChunk, size: int) -> None:
        """Queue a chunk of ``size`` bytes, and wait where the channel is full.

        Raises:
            anyio.ClosedResourceError: If the channel was closed.
        """
        await self._sender.send(_Queued(chunk, size))
        self._queued_bytes += size
        while self._queued_bytes > self._max_bytes:
            if self._drained is None:
                self._drained = anyio.Event()
            await self._drained.wait()

    def close(self, last: FlowStreamChunk | None = None) -> None:
        """Accept no more chunks; ``last`` is delivered after all that are queued.

        It needs no room in the queue, so that the ending of a run never waits for its reader.
        """
        self._last = last
        self._sender.close()

    def discard(self) -> None:
        """Drop what is queued and free both ends, when nobody will read any more."""
        self._last = None
        self._sender.close()
        self._receiver.close()
        self._release()

    async def receive(self) -> list[FlowStreamChunk]:
        """Wait for a chunk and return it with all others that are ready, in order.

        An empty list means the end. Nothing is lost when this is cancelled.
        """
        ready = self._take_ready()
        if not ready:
            try:
                ready.append(await self._receiver.receive())
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                self._receiver.close()
                last, self._last = self._last, None
                return [] if last is None else [last]
            ready += self._take_ready()
        self._queued_bytes -= sum(item.size for item in ready)
        self._release()
        return [item.chunk for item in ready]

    def _take_ready(self) -> list[_Queued]:
        ready: list[_Queued] = []
        while True:
            try:
                ready.append(self._receiver.receive_nowait())
            except (anyio.WouldBlock, anyio.EndOfStream, anyio.ClosedResourceError):
                return ready

    def _release(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None
