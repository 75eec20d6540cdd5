"""What bounds a run: how long it may take, and how much of it may wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import anyio
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowcore.run import Run

_YEAR = 366 * 86_400.0
_SHORTEST_INTERVAL = 0.01
Seconds = Annotated[float, Field(gt=0, le=_YEAR)]


class FlowDeadlines(BaseModel):
    """The deadlines of a flow's runs, in seconds; None stands for no limit.

    Attributes:
        first_chunk: Seconds from the start of a streamed run to its first chunk.
        idle: Seconds from one chunk of a streamed run to the next; the time in which ops wait for
            a slow reader does not count.
        total: Seconds from the start of a run to its end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_chunk: Seconds | None = 300.0
    idle: Seconds | None = 300.0
    total: Seconds | None = 3600.0

    def overridden_by(self, own: FlowDeadlines) -> FlowDeadlines:
        """Return these deadlines, with what ``own`` says explicitly in their place."""
        return self.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


class Deadlines(FlowDeadlines):
    """The deadlines of all runs of an app.

    Attributes:
        cleanup: How long the ops of a run that was cancelled may go on, in seconds; then the run
            ends without them.
    """

    cleanup: Seconds = 5.0


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What bounds one run.

    Attributes:
        max_chunks: How many chunks may wait for the reader.
        max_bytes: How many bytes of content may wait for the reader.
        max_chunk_bytes: How large the content of one chunk may be.
        max_answer_bytes: How large an answer may be that is gathered from chunks.
        deadlines: How long the run may take.
        cleanup: How long its ops may go on after a cancellation, in seconds.
        streamed: Whether the deadlines for chunks apply.
        show_errors: Whether callers see the text of exceptions that ops raise.
    """

    max_chunks: int = 256
    max_bytes: int = 1024 * 1024
    max_chunk_bytes: int = 4 * 1024 * 1024
    max_answer_bytes: int = 64 * 1024 * 1024
    deadlines: FlowDeadlines = field(default_factory=FlowDeadlines)
    cleanup: float = 5.0
    streamed: bool = False
    show_errors: bool = True

    def shortest(self) -> float:
        """Return the shortest deadline, in seconds."""
        return min([self.cleanup, *(value for _, value in self.deadlines if value is not None)])

    def passed(self, age: float, silence: float | None) -> tuple[str, str] | None:
        """Return the name of a deadline that has passed, and what the run did not do, or None.

        Args:
            age: How long ago the run started, in seconds.
            silence: How long ago its last chunk was emitted; None before the first.
        """
        limits = self.deadlines
        if limits.total is not None and age > limits.total:
            return "total", f"did not end within {limits.total:g} s"
        if not self.streamed:
            return None
        if silence is None:
            if limits.first_chunk is not None and age > limits.first_chunk:
                return "first_chunk", f"emitted nothing within {limits.first_chunk:g} s"
        elif limits.idle is not None and silence > limits.idle:
            return "idle", f"emitted nothing for {limits.idle:g} s"
        return None


class Watchdog:
    """Ends the runs whose time is over.

    It looks at all of them in turn, so that neither a run nor a chunk has to set a timer.

    Args:
        runs: The runs of an app, by id; it may change all the time.
        limits: What bounds them; a deadline is noticed late by a tenth of the shortest of all, or
            by a second if that is less; but it may be 10 ms late in any case. The one for silence
            may be late twice as much: it counts from when the last chunk was noticed.
    """

    def __init__(self, runs: Mapping[str, Run], limits: Iterable[RunLimits]) -> None:
        self._runs = runs
        shortest = min([10.0, *(each.shortest() for each in limits)])
        self._interval = max(shortest / 10, _SHORTEST_INTERVAL)
        self._has_runs: anyio.Event | None = None

    def wake(self) -> None:
        """Note that there is a run."""
        if self._has_runs is not None:
            self._has_runs.set()
            self._has_runs = None

    async def watch(self) -> None:
        """Look at the runs now and then, for as long as there are any, until this is cancelled."""
        while True:
            if not self._runs:
                self._has_runs = anyio.Event()
                await self._has_runs.wait()
            await self._wait()
            self._check()

    async def _wait(self) -> None:
        due = anyio.current_time() + self._interval
        await anyio.sleep(self._interval)
        if anyio.current_time() > due + self._interval:
            # The event loop was blocked, and the ops with it: they go on before they are late.
            await anyio.sleep(self._interval)

    def _check(self) -> None:
        # Apart from the loop, whose variables would keep the last run alive.
        for run in tuple(self._runs.values()):
            run.check_deadlines()
