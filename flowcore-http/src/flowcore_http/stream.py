"""The events of a run as an answer."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from flowcore_http.connected import Connected
from flowcore_http.exchange import Exchange, Header
from flowcore_http.replay import Reader, Replay
from flowcore_http.wire import COMMENT


async def send_events(exchange: Exchange, replay: Replay, number: int, heartbeat: float) -> None:
    """Send the events of a run, until its end mark or until the client leaves.

    Args:
        exchange: The request, which must have been read.
        replay: The events.
        number: Sequence number of the last event that the client has.
        heartbeat: Seconds of silence after which a comment is sent.
    """
    async with Connected(exchange):
        await exchange.start(200, event_stream_headers(replay.run_id))
        # Something at once, so that proxies pass the headers on.
        await exchange.write(replay.encoder.opening(number))
        beat = _Heartbeat(exchange, heartbeat)
        try:
            reader = Reader(number, exchange.write_now)
            data = await replay.read(reader)
            while not replay.ended:
                await exchange.write(data)
                data = await replay.read(reader)
        finally:
            # Before the last part, on which a slow client may keep us: no comment may follow it.
            await beat.stop()
        await exchange.write(data, more=False)


def event_stream_headers(run_id: str) -> list[Header]:
    """Return the headers of an answer that streams the events of a run."""
    return [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
        (b"x-run-id", run_id.encode()),
    ]


class _Heartbeat:
    """Sends a comment whenever nothing was sent for a while.

    A timer that looks when it is due, and not one that every event sets anew: events are many.
    """

    __slots__ = ("_exchange", "_loop", "_seconds", "_sending", "_timer")

    def __init__(self, exchange: Exchange, seconds: float) -> None:
        self._exchange = exchange
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._sending: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        left = self._seconds - self._silence()
        if left > self._seconds / 100:
            self._timer = self._loop.call_later(left, self._look)
            return
        if self._sending is None or self._sending.done():
            self._sending = self._loop.create_task(self._send())
        self._timer = self._loop.call_later(self._seconds, self._look)

    def _silence(self) -> float:
        return time.monotonic() - self._exchange.sent_at

    async def _send(self) -> None:
        # Events, and even the last one, may have been sent since this task was made. Where the
        # client has left, that is noticed where they are sent.
        if self._silence() >= self._seconds / 2:
            with suppress(OSError):
                await self._exchange.write(COMMENT)

    async def stop(self) -> None:
        self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
