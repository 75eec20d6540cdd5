"""One callback at the end of each turn of the event loop, for all streams together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class LoopTurn:
    """The turn of an event loop, as far as anything is sent in it.

    Attributes:
        number: Counts the turns in which something was sent.
    """

    def __init__(self) -> None:
        self.number = 0
        self._ends = False
        self._late: list[Callable[[], object]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> int:
        """Have the turn counted, now that something is sent in it; return its number."""
        if not self._ends:
            self._ends = True
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._end)
        return self.number

    def at_end(self, send: Callable[[], object]) -> None:
        """Have ``send()`` called at the end of this turn, which has begun."""
        self._late.append(send)

    def _end(self) -> None:
        self.number += 1
        self._ends = False
        late, self._late = self._late, []
        for send in late:
            send()
