"""Tells of code that blocks the event loop, while it does.

An op that computes, or waits without ``await``, holds up every stream of the process, heartbeats
too. Nothing in the event loop can tell of it then, so a thread does.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from flowcore import Op

logger = logging.getLogger("flowcore.http.watchdog")

_TICK_SECONDS = 0.25
_MAX_FRAMES = 30


class Watchdog:
    """Watches the event loop in which :meth:`start` is called.

    For each stall there is a warning with the stack of the loop's thread, and another one with its
    duration once it is over.

    Args:
        seconds: How long the loop may not tick before that is a stall.
        ticked: Called in the loop at every tick, with how late it came, in seconds.
        stalled: Called in the watching thread, once for each stall.
    """

    def __init__(
        self,
        seconds: float,
        ticked: Callable[[float], object] | None = None,
        stalled: Callable[[], object] | None = None,
    ) -> None:
        self._seconds = seconds
        self._interval = min(_TICK_SECONDS, seconds / 4)
        self._on_tick = ticked
        self._on_stall = stalled
        self._stop = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._last_tick = 0.0
        self._reported = False

    def start(self) -> None:
        """Begin to watch the running event loop."""
        loop = asyncio.get_running_loop()
        self._last_tick = time.monotonic()
        self._timer = loop.call_later(self._interval, self._tick, loop)
        threading.Thread(
            target=self._watch, args=[loop, threading.get_ident()], name="watchdog", daemon=True
        ).start()

    def stop(self) -> None:
        """Watch no longer; call this in the event loop."""
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        age, self._last_tick = now - self._last_tick, now
        if self._reported:
            self._reported = False
            logger.warning("the event loop goes on; it was blocked for %.1f s", age)
        if self._on_tick is not None:
            self._on_tick(max(0.0, age - self._interval))
        self._timer = loop.call_later(self._interval, self._tick, loop)

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        woken = time.monotonic()
        while not self._stop.wait(self._interval) and not loop.is_closed():
            before, woken = woken, time.monotonic()
            age = woken - self._last_tick
            # Who wakes late has been stopped, or starved, together with the loop.
            if age > self._seconds and not self._reported and woken - before < self._seconds:
                self._reported = True
                self._report(age, thread)

    def _report(self, age: float, thread: int) -> None:
        if self._on_stall is not None:
            self._on_stall()
        # There is no public way to see it.
        frame = sys._current_frames().get(thread)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        stack = "".join(traceback.format_stack(frame, _MAX_FRAMES)) if frame is not None else ""
        op = _running_op(frame)
        run = op.run if op is not None else None
        who = f" by op {op.name!r} of run {run.id} of flow {run.flow!r}" if op and run else ""
        # makeRecord, for the stack is that of another thread.
        record = logger.makeRecord(
            logger.name,
            logging.WARNING,
            *(__file__, 0, "the event loop has been blocked for %.1f s%s", (age, who)),
            exc_info=None,
            extra={"run_id": run.id, "flow": run.flow} if run is not None else None,
            sinfo=f"Stack of the event loop:\n{stack.rstrip()}",
        )
        if logger.isEnabledFor(logging.WARNING):
            logger.handle(record)


def _running_op(frame: FrameType | None) -> Op | None:
    """Return the op that the innermost method of a bound op on the stack belongs to."""
    while frame is not None:
        op = frame.f_locals.get("self")
        if isinstance(op, Op):
            with suppress(RuntimeError):
                return op if op.run else None
        frame = frame.f_back
    return None
