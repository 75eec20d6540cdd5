"""One timer for all waits of an exchange."""

from __future__ import annotations

import asyncio
import math

import anyio


class Alarm:
    """Cancels a wait that lasts too long.

    A timer that is set for each wait and cancelled after it costs more than the wait itself does.
    This one is set once: when it rings too early, for the wait has ended or has a later deadline,
    it is set anew.

    Args:
        loop: The event loop.

    Attributes:
        now: Returns the time, on the clock of the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf
        self._deadline = math.inf
        self._scope: anyio.CancelScope | None = None

    def watch(self, scope: anyio.CancelScope, deadline: float) -> None:
        """Cancel ``scope`` at ``deadline`` and no earlier one any more.

        A scope that has been left by then is none the worse for it.
        """
        self._scope = scope
        self._deadline = deadline
        if deadline < self._rings_at:
            self._set()

    def stop(self) -> None:
        """Watch nothing any more."""
        self._scope = None
        self._deadline = self._rings_at = math.inf
        self._set()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._rings_at = self._deadline
        if self._rings_at < math.inf:
            self._timer = self._loop.call_at(self._rings_at, self._ring)

    def _ring(self) -> None:
        if self.now() < self._deadline:
            self._set()
            return
        self._timer = None
        self._rings_at = math.inf
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None


def alarm() -> Alarm | None:
    """Return an alarm for the running event loop, or None where that is not asyncio's."""
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        return Alarm(asyncio.get_running_loop())
    return None
