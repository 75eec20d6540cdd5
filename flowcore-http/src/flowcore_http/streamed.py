"""The base of response bodies that are made while they are sent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from quart.wrappers.response import ResponseBody


class BodyCutError(Exception):
    """Raised by a body that cannot be sent to its end; the connection is closed, which tells so."""


class StreamedBody(ResponseBody):
    """A body whose next piece is asked for when the one before has been written.

    It is a class and no generator: nothing has to be closed, and no cancel scope stays open
    between two pieces (PEP 789).
    """

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

    @abstractmethod
    async def __anext__(self) -> bytes:
        """Return the next piece; StopAsyncIteration ends the body."""
