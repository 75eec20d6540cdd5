"""Answering before the request has been read, so that the client still sees the answer.

A connection that is closed with unread bytes is reset, and the reset destroys an answer that is
still on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from quart.wrappers.response import ResponseBody

from flowcore_http.exchange import LINGER_SECONDS
from flowcore_http.peer import holds_body_back


class LingeringBody(ResponseBody):
    """The body of a Quart response: ``data``, and then what the client still sends is dropped.

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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        return None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._sent:
            self._sent = True
            return self._data
        if self._awaits_rest:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    async for _ in self._rest:
                        pass
        raise StopAsyncIteration
