"""A sign for which one task waits."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import anyio


class Wakeup:
    """Wakes the one task that awaits it, once; an ``anyio.Event`` for less.

    On asyncio it is a bare future: to create and to await that costs a fraction of what an event
    does, which a stream pays for each chunk. Cancelling the task that waits cancels the future
    too, so nobody else may wait for it.
    """

    __slots__ = ("_sign",)

    def __init__(self) -> None:
        self._sign: asyncio.Future[None] | anyio.Event
        if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
            self._sign = asyncio.get_running_loop().create_future()
        else:
            self._sign = anyio.Event()

    def __await__(self) -> Generator[Any, Any, None]:
        if isinstance(self._sign, anyio.Event):
            return self._sign.wait().__await__()
        return self._sign.__await__()

    def wake(self) -> None:
        """Let the task go on; nothing happens where it was cancelled meanwhile."""
        if isinstance(self._sign, anyio.Event):
            self._sign.set()
        elif not self._sign.done():
            self._sign.set_result(None)
