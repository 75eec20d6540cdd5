"""Answering before the request has been read, so that the client still sees the answer.

A connection that is closed with unread bytes is reset, and the reset destroys an answer that is
still on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from contextlib import suppress

from flowcore_http.peer import holds_body_back
from flowcore_http.streamed import StreamedBody

LINGER_SECONDS = 2.0


class LingeringBody(StreamedBody):
    """Sends ``data``, then reads and drops what the client is still sending.

    Args:
        data: The whole body of the response.
        rest: The body of the request, as far as it has not been read.
    """

    def __init__(self, data: bytes, rest: AsyncIterable[bytes]) -> None:
        self._data = data
        self._rest = rest
        self._sent = False
        # A client that waits for leave to send, and gets this answer, sends nothing.
        self._awaits_rest = not holds_body_back()

    async def __anext__(self) -> bytes:
        if not self._sent:
            self._sent = True
            return self._data
        if not self._awaits_rest:
            raise StopAsyncIteration
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                async for _ in self._rest:
                    pass
        raise StopAsyncIteration
