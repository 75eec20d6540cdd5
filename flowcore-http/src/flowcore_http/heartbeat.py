"""Comments for streams that are silent, so that proxies keep them open."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from flowcore_http.exchange import Exchange
from flowcore_http.wire import COMMENT


class Heartbeat:
    """Sends a comment on each open stream that was silent for a while.

    One timer looks at all of them, and not one that every stream has, or that every event sets
    anew: streams are many, and events more. So a comment may be late by a tenth of that while.

    Args:
        seconds: How long a stream may be silent.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._streams: set[Exchange] = set()
        self._sending: dict[Exchange, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, exchange: Exchange) -> None:
        """Begin to look at a stream, of which something was just sent."""
        self._streams.add(exchange)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    async def end(self, exchange: Exchange) -> None:
        """Send no further comment on a stream."""
        self._streams.discard(exchange)
        if not self._streams and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (sending := self._sending.pop(exchange, None)) is not None:
            sending.cancel()
            await asyncio.wait([sending])

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        rest = self._seconds
        for exchange in tuple(self._streams):
            left = self._seconds - (now - exchange.sent_at)
            if left > self._seconds / 100:
                rest = min(rest, left)
            elif not exchange.write_now(COMMENT, now) and exchange not in self._sending:
                # The server cannot, or the client has not read what was sent before.
                self._sending[exchange] = task = loop.create_task(self._send(exchange))
                task.add_done_callback(
                    lambda _, exchange=exchange: self._sending.pop(exchange, None)
                )
        self._timer = loop.call_later(max(rest, self._seconds / 10), self._look)

    async def _send(self, exchange: Exchange) -> None:
        # Events, and even the last one, may have been sent since this task was made. Where the
        # client has left, that is noticed where they are sent.
        with suppress(OSError):
            if time.monotonic() - exchange.sent_at >= self._seconds / 2:
                await exchange.write(COMMENT)
