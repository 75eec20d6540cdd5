"""Running the ops of a run until it ends, or ending it without those that do not stop."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from flowcore import call_values
from flowcore.ending import RunState
from flowcore.failure import error_text, failure_of
from flowcore.logs import running
from flowcore.run import Run

logger = logging.getLogger("flowcore")


async def execute(run: Run, body: Callable[[Run], Awaitable[object]]) -> None:
    """Run ``body(run)`` to one of the three endings; called once, in a task of its own.

    Whatever the body does, this raises nothing but the cancellation of its task. What it makes of
    a cancellation, such as to return, does not change that it was cancelled.
    """
    state = RunState.CANCELLED
    error: Exception | None = None
    running.set((run.id, run.flow))
    if call_values.current.get() is not None:
        call_values.current.set(None)  # an op that was called has started this run
    try:
        try:
            if run.observer is not None:
                run.observer.run_started(run)
            with run.scope:
                try:
                    run.cleanup.check()
                    with run.cleanup.scope:
                        await body(run)
                except BaseException as raised:
                    if (error := failure_of(raised)) is None:
                        raise
                if not run.stopping_since:
                    state = RunState.DONE if error is None else RunState.FAILED
                elif error is not None and not run.abandoned:
                    text = "run %s was cancelled, and then an op raised %s"
                    logger.warning(text, run.id, error_text(error), exc_info=error)
                    error = None
        finally:
            run.end(state, error)
    except Exception:
        # One run must never take the others along, not even by a fault of ours.
        logger.exception("run %s of flow %r ended by a fault of flowcore", run.id, run.flow)


def abandon(run: Run) -> None:
    """End a run without its ops, which ignore their cancellation."""
    run.abandoned = True
    run.cleanup.abandon()
    outside = running.set((run.id, run.flow))  # this is not the run's own task
    logger.error(
        "run %s of flow %r: op %s ignores its cancellation; after %g s the run ends without it",
        *(run.id, run.flow, ", ".join(repr(op.name) for op in run.active_ops) or "?"),
        run.limits.cleanup,
    )
    run.end(RunState.CANCELLED, None)
    running.reset(outside)
