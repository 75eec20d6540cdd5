"""The events of a run as an answer."""

from __future__ import annotations

from flowcore_http.connected import Connected
from flowcore_http.exchange import Exchange, Header
from flowcore_http.heartbeat import Heartbeat
from flowcore_http.replay import Reader, Replay


async def send_events(
    exchange: Exchange, replay: Replay, number: int, heartbeat: Heartbeat
) -> None:
    """Send the events of a run, until its end mark or until the client leaves.

    Args:
        exchange: The request, which must have been read.
        replay: The events.
        number: Sequence number of the last event that the client has.
        heartbeat: Sends a comment where there is no event for a while.
    """
    async with Connected(exchange):
        await exchange.start(200, event_stream_headers(replay.run_id))
        # Something at once, so that proxies pass the headers on.
        await exchange.write(replay.encoder.opening(number))
        exchange.forget_fields()
        heartbeat.begin(exchange)
        try:
            reader = Reader(number, exchange.write_now)
            data = await replay.read(reader)
            while not replay.ended:
                await exchange.write(data)
                data = await replay.read(reader)
        finally:
            # Before the last part, on which a slow client may keep us: no comment may follow it.
            await heartbeat.end(exchange)
        await exchange.write(data, more=False)


def event_stream_headers(run_id: str) -> list[Header]:
    """Return the headers of an answer that streams the events of a run."""
    return [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
        (b"x-run-id", run_id.encode()),
    ]
