"""The runs that the service knows: those that run, and for a while those that have ended."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from flowcore import FlowStreamChunk, Grace, Run, RunState
from flowcore_http.frames import let_go_of_frames
from flowcore_http.replay import Budget, Replay
from flowcore_http.settings import ReplaySettings

_RECORD_BYTES = 4096
"""About what a run takes besides its events."""


class _Outcome(NamedTuple):
    """What is remembered of a run that has ended; the names are those of the run."""

    state: RunState
    started_at: float
    ended_at: float
    chunks: int
    failure: FlowStreamChunk | None


class RunRecord:
    """What the service knows of one run.

    Args:
        run: The run.
        caller: Name of the key that started it; only this one may ask for it.
        replay: Its events; None if it is not read as a stream.
        on_disconnect: What becomes of it when its last reader leaves.

    Attributes:
        id: Identifier of the run.
        flow: Name of its flow.
        caller: See above.
        replay: See above.
        readers: How many clients read it now.
    """

    __slots__ = (
        *("_grace", "_on_disconnect", "_outcome", "_run"),
        *("caller", "flow", "id", "readers", "replay"),
    )

    def __init__(
        self,
        run: Run,
        caller: str,
        replay: Replay | None,
        on_disconnect: Literal["cancel"] | Grace = "cancel",
    ) -> None:
        self.id = run.id
        self.flow = run.flow
        self.caller = caller
        self.replay = replay
        self.readers = 0
        self._run: Run | None = run
        self._on_disconnect = on_disconnect
        self._grace: asyncio.TimerHandle | None = None
        self._outcome: _Outcome | None = None

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self._run is None

    def cancel(self, reason: str) -> None:
        """Cancel the run, if it has not ended."""
        if self._run is not None:
            self._run.cancel(reason)

    def keep(self) -> None:
        """Let the run go on: it has a reader again."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def leave(self, reason: str) -> None:
        """Do with the run what its flow's ``on_disconnect`` says: nobody reads it any more."""
        if isinstance(self._on_disconnect, Grace):
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(self._on_disconnect.grace, self.cancel, reason)
        else:
            self.cancel(reason)

    def end(self, run: Run) -> None:
        """Take note that the run has ended, and let go of it."""
        self._outcome = _Outcome(run.state, run.started_at, run.ended_at, run.chunks, run.failure)
        self._run = None
        self.keep()

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return _RECORD_BYTES + (self.replay.size if self.replay is not None else 0)

    def describe(self) -> dict[str, Any]:
        """Return what there is to know of the run, as JSON data."""
        run = self._run or self._outcome
        assert run is not None  # noqa: S101 - for the type checker
        ending: dict[str, Any] | None = None
        if run.state is RunState.DONE:
            ending = {"code": "done"}
        elif run.failure is not None:
            ending = {**run.failure.metadata, "detail": run.failure.chunk}
        return {
            "id": self.id,
            "flow": self.flow,
            "state": run.state.value,
            "started_at": _iso(run.started_at),
            "ended_at": _iso(run.ended_at) if run.ended_at else None,
            "chunks": run.chunks,
            "ending": ending,
            "events": self.replay.last if self.replay is not None else 0,
        }


class RunRegister:
    """The records of runs by id.

    Args:
        settings: How much is kept of runs that have ended, and for how long.
    """

    def __init__(self, settings: ReplaySettings) -> None:
        self._seconds = settings.seconds
        self._budget = Budget(settings.total_bytes, settings.bytes_per_run)
        self._records: dict[str, RunRecord] = {}
        self._shelves: dict[str, _Shelf] = {}
        self._cleaning: asyncio.TimerHandle | None = None

    def add(
        self,
        run: Run,
        caller: str,
        *,
        on_disconnect: Literal["cancel"] | Grace = "cancel",
        delivered: Callable[[float], object] | None = None,
    ) -> RunRecord:
        """Record a run that was just started.

        Args:
            run: The run.
            caller: Name of the key that started it.
            on_disconnect: What becomes of it when its last reader leaves.
            delivered: Called whenever chunks are taken from the run; None if the run is not read
                as a stream of events.
        """
        replay = None if delivered is None else Replay(run, self._budget, delivered)
        record = self._records[run.id] = RunRecord(run, caller, replay, on_disconnect)
        self._budget.used += _RECORD_BYTES
        run.add_done_callback(self._end)
        return record

    def find(self, run_id: str, caller: str) -> RunRecord | None:
        """Return the record of a run, if there is one and this caller may see it."""
        record = self._records.get(run_id)
        return record if record is not None and record.caller == caller else None

    def attach(self, record: RunRecord) -> None:
        """Take note that a run has one more reader."""
        record.readers += 1
        record.keep()
        self._take_down(record)

    def detach(self, record: RunRecord, reason: str) -> None:
        """Take note that a reader has left; with the last one, the run may be over.

        Args:
            record: The run.
            reason: Why the reader left, such as ``"client"``.
        """
        record.readers -= 1
        if record.readers:
            return
        if record.ended:
            self._retire(record)
        else:
            record.leave(reason)

    async def close(self) -> None:
        """Forget the runs that have ended: the event loop ends, and with it the timer for them."""
        if self._cleaning is not None:
            self._cleaning.cancel()
            self._cleaning = None
        for shelf in tuple(self._shelves.values()):
            while shelf.due:
                self._drop(shelf)

    def _end(self, run: Run) -> None:
        record = self._records[run.id]
        record.end(run)
        if run.error is not None:
            # As soon as its task has ended as well, of whose step this is the last part.
            asyncio.get_running_loop().call_soon(let_go_of_frames, run.error)
        if not record.readers:
            self._retire(record)

    def _retire(self, record: RunRecord) -> None:
        if record.replay is not None:
            record.replay.finish()
        loop = asyncio.get_running_loop()
        shelf = self._shelves.get(record.caller) or _Shelf()
        self._shelves[record.caller] = shelf
        shelf.due[record.id] = loop.time() + self._seconds
        shelf.size += record.size
        while self._budget.exceeded and self._shelves:
            # Nobody crowds out what others may still come back for.
            self._drop(max(self._shelves.values(), key=lambda each: each.size))
        if self._cleaning is None:
            self._cleaning = loop.call_later(self._seconds, self._clean)

    def _take_down(self, record: RunRecord) -> None:
        shelf = self._shelves.get(record.caller)
        if shelf is not None and shelf.due.pop(record.id, None) is not None:
            shelf.size -= record.size
            if not shelf.due:
                del self._shelves[record.caller]

    def _drop(self, shelf: _Shelf) -> None:
        record = self._records.pop(next(iter(shelf.due)))
        self._take_down(record)
        self._budget.used -= _RECORD_BYTES
        if record.replay is not None:
            record.replay.discard()

    def _clean(self) -> None:
        self._cleaning = None
        loop = asyncio.get_running_loop()
        for shelf in tuple(self._shelves.values()):
            while shelf.due and shelf.next_due() <= loop.time():
                self._drop(shelf)
        if self._shelves:
            # In one go with those that are due a little later.
            soonest = min(shelf.next_due() for shelf in self._shelves.values())
            soonest = max(soonest, loop.time() + self._seconds / 10)
            self._cleaning = loop.call_at(soonest, self._clean)


class _Shelf:
    """The runs of one caller that have ended and are not read, the oldest first.

    Attributes:
        due: When each may be forgotten.
        size: How many bytes they take.
    """

    def __init__(self) -> None:
        self.due: OrderedDict[str, float] = OrderedDict()
        self.size = 0

    def next_due(self) -> float:
        """Return when the oldest may be forgotten."""
        return next(iter(self.due.values()))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
