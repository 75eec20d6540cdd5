"""The events of a run: encoded once, sent to all who read them, the last ones kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from flowcore import FlowStreamChunk, Run, RunState
from flowcore_http.wire import EventEncoder, split_events


class Budget:
    """How many bytes of events are kept, for all runs together.

    Args:
        total_bytes: The most that is kept of all runs.
        bytes_per_run: The most that is kept of one run.

    Attributes:
        used: How much is kept now.
        runs: How many runs share it.
    """

    def __init__(self, total_bytes: int, bytes_per_run: int) -> None:
        self.used = 0
        self.runs = 0
        self._total = total_bytes
        self._per_run = bytes_per_run

    @property
    def share(self) -> int:
        """How much is kept of one run while there are as many as now."""
        return min(self._per_run, self._total // max(self.runs, 1))

    @property
    def exceeded(self) -> bool:
        """Whether more is kept than should be."""
        return self.used > self._total


class _Batch(NamedTuple):
    """Events that were encoded together; ``first`` is the sequence number of the first."""

    first: int
    data: bytes


class Replay:
    """The events of one run, numbered from 1.

    Whoever has read all of them and wants more takes the next chunks from the run. So a run is
    read as fast as its fastest reader reads, and not at all while nobody does.

    Args:
        run: The run, which nobody else reads.
        budget: What is kept counts against it.
        delivered: Called whenever chunks were taken from the run.

    Attributes:
        run_id: Identifier of the run.
        last: Sequence number of the last event so far; 0 before the first.
        ended: Whether that one is the end mark.
        size: How many bytes of events are kept.
    """

    def __init__(self, run: Run, budget: Budget, delivered: Callable[[], object]) -> None:
        self.run_id = run.id
        self.last = 0
        self.ended = False
        self.encoder = EventEncoder(run.id)
        self._run: Run | None = run
        self._budget = budget
        self._delivered = delivered
        self._kept: deque[_Batch] = deque()
        self.size = 0
        self._is_read = False
        self._grown: asyncio.Event | None = None
        budget.runs += 1

    async def read(self, number: int) -> bytes:
        """Wait for events after ``number`` and return all that there are; nothing at the end.

        However this is cancelled, nothing is lost. Where events in between are no longer kept, the
        first one is a ``gap``.
        """
        while self.last <= number and not self.ended:
            if self._is_read:
                await self._wait()
            elif number == self.last:
                return await self._take()
            else:
                await self._take()
        return self._after(number)

    async def _take(self) -> bytes:
        assert self._run is not None  # noqa: S101 - for the type checker: it has not ended
        self._is_read = True
        try:
            chunks = await self._run.receive()
        finally:
            # Also where this reader leaves: another one goes on.
            self._is_read = False
            self._wake()
        if chunks:
            self._delivered()
        return self._append(chunks)

    def finish(self) -> None:
        """Take what a run that has ended still holds, when nobody reads it."""
        if self._run is not None and self._run.state is not RunState.RUNNING:
            self._append(self._run.receive_ready())

    def discard(self) -> None:
        """Keep nothing any more."""
        self._budget.used -= self.size
        self._budget.runs -= 1
        self._kept.clear()
        self.size = 0

    def _append(self, chunks: list[FlowStreamChunk]) -> bytes:
        assert self._run is not None  # noqa: S101 - for the type checker
        first = self.last + 1
        data = self.encoder.chunks(chunks, first)
        self.last += len(chunks)
        if self._run.state is not RunState.RUNNING:
            # What was received last is all that there was.
            self.last += 1
            data += self.encoder.end(self.last)
            self.ended = True
            self._run = None
        self._kept.append(_Batch(first, data))
        self.size += len(data)
        self._budget.used += len(data)
        share = self._budget.share
        # The newest stays in any case: it may hold the end mark.
        while self.size > share and len(self._kept) > 1:
            dropped = len(self._kept.popleft().data)
            self.size -= dropped
            self._budget.used -= dropped
        return data

    def _after(self, number: int) -> bytes:
        wanted = number + 1
        parts: deque[bytes] = deque()
        end = self.last + 1
        # From the newest backwards, for most readers lack little.
        for batch in reversed(self._kept):
            if end <= wanted:
                break
            data = batch.data
            if batch.first < wanted:
                data = b"".join(split_events(data)[wanted - batch.first :])
            parts.appendleft(data)
            end = batch.first
        if wanted < end <= self.last:
            parts.appendleft(self.encoder.gap(wanted, end - 1))
        return b"".join(parts)

    async def _wait(self) -> None:
        if self._grown is None:
            self._grown = asyncio.Event()
        await self._grown.wait()

    def _wake(self) -> None:
        if self._grown is not None:
            self._grown.set()
            self._grown = None
