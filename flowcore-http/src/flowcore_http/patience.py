"""The time that a client has for something, over and over."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

_TICK_SECONDS = 0.001


class Patience:
    """Calls a function when a wait has taken too long.

    One timer runs on while waits begin and end, which may be thousands in a second.

    Args:
        loop: The event loop.
        seconds: How long a wait may take.
        at_end: What is called then.
    """

    __slots__ = ("_at_end", "_loop", "_seconds", "_since", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, at_end: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._at_end = at_end
        self._since = math.nan
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Begin a wait."""
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def end(self) -> None:
        """End the wait, if there is one."""
        self._since = math.nan

    def rest(self) -> None:
        """End the wait and the timer: it may be long until the next wait."""
        self.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """End the wait and the timer; there will be no further wait."""
        self.rest()
        self._at_end = _nothing

    def _look(self) -> None:
        self._timer = None
        if math.isnan(self._since):
            return
        rest = self._since + self._seconds - self._loop.time()
        if rest > _TICK_SECONDS:
            self._timer = self._loop.call_later(rest, self._look)
        else:
            self.end()
            self._at_end()


def _nothing() -> None:
    pass
