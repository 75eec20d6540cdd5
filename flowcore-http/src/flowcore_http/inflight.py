"""The requests in progress."""

from __future__ import annotations

import asyncio
import time


class InFlight:
    """Counts the requests in progress.

    Attributes:
        count: How many there are.
        refusing: Whether further ones are answered with 503.
        closing: Whether each answer is the last one on its connection.
        ended_at: When the last one of those ended, by the monotonic clock.
    """

    def __init__(self) -> None:
        self.count = 0
        self.refusing = False
        self.closing = False
        self.ended_at = 0.0
        self._idle: asyncio.Event | None = None

    def begin(self) -> None:
        """Count one more."""
        self.count += 1

    def end(self) -> None:
        """Count one less."""
        self.count -= 1
        if self.closing:
            self.ended_at = time.monotonic()
        if self._idle is not None and not self.count:
            self._idle.set()
            self._idle = None

    def refuse_new(self) -> None:
        """Let all further requests be answered with 503."""
        self.refusing = True

    def close_connections(self) -> None:
        """Let each answer from now on be the last one on its connection."""
        self.closing = True
        self.ended_at = time.monotonic()

    async def wait_idle(self) -> None:
        """Wait until no request is in progress."""
        while self.count:
            if self._idle is None:
                self._idle = asyncio.Event()
            await self._idle.wait()
