"""The deadlines of runs, watched for all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic

import anyio

from flowcore.errors import RunTimeoutError
from flowcore.execution import abandon
from flowcore.limits import RunLimits
from flowcore.run import Run

_SHORTEST_INTERVAL = 0.01


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
            _check_deadlines(run)


def _check_deadlines(run: Run) -> None:
    limits = run.limits
    now = monotonic()
    if run.stopping_since:
        if now - run.stopping_since > limits.cleanup:
            abandon(run)
    elif overdue := run.cleanup.overdue(limits.cleanup):
        since, error = overdue
        run.fail(error)
        run.stopping_since = since  # the time for their cleanup has passed already
    elif passed := limits.passed(now - run.began, run.silence(now)):
        _time_out(run, *passed)


def _time_out(run: Run, deadline: str, what: str) -> None:
    for op in run.active_ops:
        run.blame(op.name)
    message = f"flow {run.flow!r} {what} (deadlines.{deadline})"
    run.fail(RunTimeoutError(message, f"{deadline}_timeout"))
