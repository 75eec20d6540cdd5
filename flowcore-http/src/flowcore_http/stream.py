"""A run as the body of a response."""

from __future__ import annotations

import asyncio

from quart import Response

from flowcore import Run, RunState
from flowcore_http.access import gap_meter
from flowcore_http.streamed import StreamedBody
from flowcore_http.wire import COMMENT, DONE, ChunkEncoder


class StreamBody(StreamedBody):
    """Sends the chunks of a run as events, then the end mark.

    Args:
        run: The run, which nobody else reads.
        heartbeat: Seconds of silence after which a comment is sent.
    """

    def __init__(self, run: Run, heartbeat: float) -> None:
        self._run = run
        self._heartbeat = heartbeat
        self._encoder = ChunkEncoder(run.id)
        self._delivered = gap_meter(run)
        self._opened = False
        self._ended = False

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        if not self._opened:
            # Something at once, so that proxies pass the headers on.
            self._opened = True
            return COMMENT
        try:
            async with asyncio.timeout(self._heartbeat):
                chunks = await self._run.receive()
        except TimeoutError:
            return COMMENT
        if chunks:
            self._delivered()
            return self._encoder.encode(chunks)
        if self._run.state is RunState.CANCELLED:
            raise StopAsyncIteration
        self._ended = True
        return DONE


def stream_response(run: Run, heartbeat: float) -> Response:
    """Return the response that streams a run."""
    response = Response(
        StreamBody(run, heartbeat),
        content_type="text/event-stream",
        headers={
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",
            "X-Run-Id": run.id,
        },
    )
    # Quart's default would cut the stream after a minute, without a word.
    response.timeout = None
    return response
