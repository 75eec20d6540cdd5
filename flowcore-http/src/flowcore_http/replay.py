"""The events of a run: encoded once, sent to all who read them, the last ones kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flowcore import FlowStreamChunk, OpEvent, Run, RunState
from flowcore_http.wire import EventEncoder, split_events


class Budget:
    """How many bytes of events are kept, for all runs together.

    Args:
        total_bytes: The most that is kept of all runs.
        bytes_per_run: The most that is kept of one run.

    Attributes:
        used: How much is kept now.
        share: How much is kept of one run while there are as many as now.
    """

    def __init__(self, total_bytes: int, bytes_per_run: int) -> None:
        self.used = 0
        self.share = bytes_per_run
        self._runs = 0
        self._total = total_bytes
        self._per_run = bytes_per_run

    def divide(self, more: int) -> None:
        """Take note that so many more runs share it, or fewer."""
        self._runs += more
        self.share = min(self._per_run, self._total // max(self._runs, 1))

    @property
    def exceeded(self) -> bool:
        """Whether more is kept than should be."""
        return self.used > self._total


class _Batch(NamedTuple):
    """Events that were encoded together; ``first`` is the sequence number of the first."""

    first: int
    data: bytes


class Reader:
    """Who reads the events of a run, and how far it has come.

    Args:
        number: Sequence number of the last event that it has.
        push: Takes events at once, if it can, and returns whether it has; None if it never can.

    Attributes:
        number: See above.
        push: See above.
        wakeup: Set while the reader waits for events that it is not pushed.
    """

    __slots__ = ("number", "push", "wakeup")

    def __init__(self, number: int, push: Callable[[bytes], bool] | None = None) -> None:
        self.number = number
        self.push = push
        self.wakeup: asyncio.Future[None] | None = None


class Replay:
    """The events of one run, numbered from 1.

    While somebody waits for events, chunks are taken from the run and encoded in the very step in
    which an op emits them, and pushed to those who wait; more chunks that come before the event
    loop's next turn are taken together in that. So a chunk that comes alone is on its way at once,
    and many that come together are one write. While nobody waits, the run is not read: it goes on
    as fast as its fastest reader reads.

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
        self._receive: Callable[[Run], Sequence[Any]] = Run.receive_ready
        self._encode: Callable[[Sequence[Any], int], bytes] = self.encoder.chunks
        if run.trace is not None:
            self._receive, self._encode = _receive_traced, self.encoder.items
        self._run: Run | None = run
        self._budget = budget
        self._delivered = delivered
        self._kept: deque[_Batch] = deque()
        self.size = 0
        self._waiting: list[Reader] = []
        self._resting = False
        self._loop = asyncio.get_running_loop()
        budget.divide(1)

    async def read(self, reader: Reader) -> bytes:
        """Wait for events that the reader lacks and cannot be pushed, and return all there are.

        However this is cancelled, nothing is lost. Where events in between are no longer kept, the
        first one is a ``gap``. Nothing is returned where the last events were pushed.
        """
        if self.last == reader.number and not self.ended and not self._hand_out():
            await self._wait(reader)
        data = self._after(reader.number)
        reader.number = self.last
        return data

    async def _wait(self, reader: Reader) -> None:
        run = self._run
        assert run is not None  # noqa: S101 - for the type checker: it has not ended
        reader.wakeup = self._loop.create_future()
        self._waiting.append(reader)
        run.listen(self._arrived)
        try:
            await reader.wakeup
        finally:
            reader.wakeup = None
            if reader in self._waiting:
                self._waiting.remove(reader)
            if not self._waiting:
                run.listen(None)

    def _arrived(self) -> None:
        """Hand out what an op has just emitted, or let it wait for what comes right after it."""
        if self._resting:
            return
        self._resting = True
        self._loop.call_soon(self._look_again)
        self._hand_out()

    def _look_again(self) -> None:
        self._resting = False
        if self._waiting and self._hand_out() and not self.ended:
            self._resting = True
            self._loop.call_soon(self._look_again)

    def _hand_out(self) -> bool:
        """Take what there is and push it to those who wait; return whether there was anything."""
        before = self.last
        if not self._take():
            return False
        data = self._kept[-1].data
        for reader in tuple(self._waiting):
            pushed = reader.number == before and reader.push is not None and reader.push(data)
            if pushed:
                reader.number = self.last
            if not pushed or self.ended:
                self._waiting.remove(reader)
                if reader.wakeup is not None and not reader.wakeup.done():
                    reader.wakeup.set_result(None)
        if not self._waiting and self._run is not None:
            self._run.listen(None)
        return True

    def _take(self) -> bool:
        """Take what the run has emitted; return whether that was anything."""
        if self._run is None:
            return False
        items = self._receive(self._run)
        if items:
            self._delivered()
        elif self._run.state is RunState.RUNNING:
            return False
        self._append(items)
        return True

    def finish(self) -> None:
        """Take what a run that has ended still holds, when nobody reads it."""
        if self._run is not None and self._run.state is not RunState.RUNNING:
            self._append(self._receive(self._run))

    def discard(self) -> None:
        """Keep nothing any more."""
        self._budget.used -= self.size
        self._budget.divide(-1)
        self._kept.clear()
        self.size = 0

    def _append(self, items: Sequence[object]) -> None:
        assert self._run is not None  # noqa: S101 - for the type checker
        first = self.last + 1
        data = self._encode(items, first)
        self.last += len(items)
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


def _receive_traced(run: Run) -> Sequence[FlowStreamChunk | OpEvent]:
    return [] if run.trace is None else run.trace.receive_ready()
