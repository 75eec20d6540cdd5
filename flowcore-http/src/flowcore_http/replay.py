"""The events of a run: encoded once, sent to all who read them, the last ones kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

from flowcore import FlowStreamChunk, OpEvent, Run, RunState
from flowcore_http.wire import EventEncoder, count_events, split_events

_JOINED_SECONDS = 0.001
"""How soon after other chunks those come that are sent together, in the event loop's next turn."""


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


class Reader:
    """Who reads the events of a run, and how far it has come.

    Args:
        number: Sequence number of the last event that it has.
        push: Takes events at once, if it can, and returns whether it has; None if it never can. It
            is told the time, too, by the monotonic clock.

    Attributes:
        number: See above.
        push: See above.
        wakeup: Set while the reader waits for events that it is not pushed.
    """

    __slots__ = ("number", "push", "wakeup")

    def __init__(self, number: int, push: Callable[[bytes, float], bool] | None = None) -> None:
        self.number = number
        self.push = push
        self.wakeup: asyncio.Future[None] | None = None


class Replay:
    """The events of one run, numbered from 1.

    While somebody waits for events, chunks are taken from the run in the very step in which an op
    emits them, and pushed to those who wait; those that come within a millisecond after that are
    taken together in the event loop's next turn. So a chunk that comes alone is on its way at once,
    and many that come together are one write. While nobody waits, the run is not read: it goes on
    as fast as its fastest reader reads.

    Args:
        run: The run, which nobody else reads.
        budget: What is kept counts against it.
        delivered: Called with the time, by the monotonic clock, whenever chunks were taken from the
            run.

    Attributes:
        run_id: Identifier of the run.
        last: Sequence number of the last event so far; 0 before the first.
        ended: Whether that one is the end mark.
        size: How many bytes of events are kept.
    """

    __slots__ = (
        *("_budget", "_delivered", "_kept", "_loop", "_run", "_taken_at", "_waiting"),
        *("encoder", "ended", "last", "run_id", "size"),
    )

    def __init__(self, run: Run, budget: Budget, delivered: Callable[[float], object]) -> None:
        self.run_id = run.id
        self.last = 0
        self.ended = False
        self.size = 0
        self.encoder = EventEncoder(run.id)
        run.encode_texts(self.encoder.text)
        self._run: Run | None = run
        self._loop = asyncio.get_running_loop()
        self._taken_at = 0.0
        self._budget = budget
        self._delivered = delivered
        self._kept: list[bytes] = []  # events that were encoded together are kept together
        self._waiting: list[Reader] = []
        budget.divide(1)

    async def read(self, reader: Reader) -> bytes:
        """Wait for events that the reader lacks and cannot be pushed, and return all there are.

        However this is cancelled, nothing is lost. Where events in between are no longer kept, the
        first one is a ``gap``.
        """
        if self.last == reader.number and not self.ended and not self._hand_out(monotonic()):
            reader.wakeup = self._loop.create_future()
            self._waiting.append(reader)
            self._listen(self._arrived)
            try:
                await reader.wakeup
            finally:
                reader.wakeup = None
                if reader in self._waiting:
                    self._waiting.remove(reader)
                if not self._waiting:
                    self._listen(None)
        data = self._after(reader.number)
        reader.number = self.last
        return data

    def _listen(self, notify: Callable[[], object] | None) -> None:
        if self._run is not None:
            self._run.listen(notify)

    def _arrived(self) -> None:
        """Hand out what an op has just emitted, or let it wait for what comes right after it."""
        now = monotonic()
        if now - self._taken_at >= _JOINED_SECONDS:
            self._hand_out(now)
        else:
            self._listen(None)
            self._loop.call_soon(self._hand_out_joined)

    def _hand_out_joined(self) -> None:
        if self._waiting:
            self._listen(self._arrived)
            self._hand_out(monotonic())

    def _hand_out(self, now: float) -> bool:
        """Take what there is and push it to those who wait; return whether there was anything."""
        before = self.last
        data = self._take(now)
        if not data:
            return False
        for reader in tuple(self._waiting):
            # The end is not pushed: whoever waits for it sends it as the last part of an answer.
            push = None if self.ended else reader.push
            if push is not None and reader.number == before and push(data, now):
                reader.number = self.last
            else:
                self._waiting.remove(reader)
                if reader.wakeup is not None and not reader.wakeup.done():
                    reader.wakeup.set_result(None)
        if not self._waiting:
            self._listen(None)
        return True

    def _take(self, now: float) -> bytes:
        """Take what the run has emitted; return its events, none if there was nothing."""
        run = self._run
        if run is None:
            return b""
        items = (run.trace or run).receive_ready()
        if items:
            self._taken_at = now
            self._delivered(now)
        elif run.state is RunState.RUNNING:
            return b""
        return self._append(items, run)

    def finish(self) -> None:
        """Take what a run that has ended still holds, when nobody reads it."""
        run = self._run
        if run is not None and run.state is not RunState.RUNNING:
            self._append((run.trace or run).receive_ready(), run)

    def discard(self) -> None:
        """Keep nothing any more."""
        self._keep(-self.size)
        self._budget.divide(-1)
        self._kept.clear()

    def _append(self, items: Sequence[FlowStreamChunk | OpEvent], run: Run) -> bytes:
        data = self.encoder.events(items, self.last + 1)
        self.last += len(items)
        if run.state is not RunState.RUNNING:
            # What was received last is all that there was.
            self.last += 1
            data += self.encoder.end(self.last)
            self.ended = True
            self._run = None
        self._kept.append(data)
        self._keep(len(data))
        if self.size > self._budget.share:
            self._drop_oldest()
        return data

    def _drop_oldest(self) -> None:
        # More than is needed, so that not every chunk moves all that is kept.
        least = self._budget.share * 7 // 8
        # The newest stays in any case: it may hold the end mark.
        count = 0
        while self.size > least and count < len(self._kept) - 1:
            self._keep(-len(self._kept[count]))
            count += 1
        del self._kept[:count]

    def _keep(self, more: int) -> None:
        self.size += more
        self._budget.used += more

    def _after(self, number: int) -> bytes:
        wanted = number + 1
        parts: list[bytes] = []
        end = self.last + 1
        # From the newest backwards, for most readers lack little.
        for data in reversed(self._kept):
            if end <= wanted:
                break
            first = end - count_events(data)
            if first < wanted:
                data = b"".join(split_events(data)[wanted - first :])  # noqa: PLW2901
            parts.append(data)
            end = first
        if wanted < end <= self.last:
            parts.append(self.encoder.gap(wanted, end - 1))
        return b"".join(reversed(parts))
