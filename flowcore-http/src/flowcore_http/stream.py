"""The events of a run as the body of a response."""

from __future__ import annotations

import asyncio

from quart import Response

from flowcore_http.replay import Replay
from flowcore_http.streamed import StreamedBody
from flowcore_http.wire import COMMENT


class StreamBody(StreamedBody):
    """Sends the events of a run, and comments while there are none.

    Args:
        replay: The events.
        number: Sequence number of the last event that the client has.
        heartbeat: Seconds of silence after which a comment is sent.
    """

    def __init__(self, replay: Replay, number: int, heartbeat: float) -> None:
        self._replay = replay
        self._number = number
        self._heartbeat = heartbeat
        self._opened = False

    async def __anext__(self) -> bytes:
        replay = self._replay
        if not self._opened:
            # Something at once, so that proxies pass the headers on.
            self._opened = True
            return replay.encoder.opening(self._number)
        try:
            async with asyncio.timeout(self._heartbeat):
                data = await replay.read(self._number)
        except TimeoutError:
            return COMMENT
        if not data:
            raise StopAsyncIteration
        self._number = replay.last
        return data


def stream_response(run_id: str, replay: Replay, number: int, heartbeat: float) -> Response:
    """Return the response that streams the events of a run after ``number``."""
    return event_stream(run_id, StreamBody(replay, number, heartbeat))


def event_stream(run_id: str, body: StreamBody | None = None) -> Response:
    """Return the response for the events of a run; without a body it tells only the headers."""
    response = Response(
        body,
        content_type="text/event-stream",
        headers={
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",
            "X-Run-Id": run_id,
        },
    )
    # Quart's default would cut the stream after a minute, without a word.
    response.timeout = None
    return response
