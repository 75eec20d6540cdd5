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


class LingeringBody(ResponseBody):
    """The body of a Quart response: ``data``, and then what the client still sends is dropped.

    Args:
        data: The whole body of the response.
        rest: The body of the request, as far as it has not been read; None if it will not come.
    """

    def __init__(self, data: bytes, rest: AsyncIterable[bytes] | None) -> None:
        self._data = data
        self._rest = rest
        self._sent = False

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
        if self._rest is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    async for _ in self._rest:
                        pass
        raise StopAsyncIteration
