"""Ending what is done for a client when the client leaves."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from flowcore_http.exchange import Exchange

UNWATCHED_SECONDS = 0.01
"""How long an answer may take before it is worth a task that waits for the client to leave.

Our servers tell by themselves, once the request has come to its end.
"""


class Connected:
    """An async context whose block is ended when the client of a request leaves.

    Nothing is raised then; ``exchange.client_left`` tells. The request must have been read.

    Args:
        exchange: The request.
    """

    __slots__ = ("_ending", "_exchange", "_task", "_timer", "_watcher")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._ending = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        if not self._exchange.when_left(self._end):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(UNWATCHED_SECONDS, self._begin, loop)
        return self

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watcher = loop.create_task(self._watch())

    async def _watch(self) -> None:
        await self._exchange.wait_until_left()
        self._end()

    def _end(self) -> None:
        self._exchange.client_left = True
        # At once, or who is cancelled below gives a reason of its own for the end of a run.
        self._exchange.end()
        if self._task is not None:
            self._ending = True
            self._task.cancel()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> bool:
        self._exchange.stay()
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        # Noted before anything is awaited: who else cancels this task has a count of its own.
        left = self._ending and task is not None and task.uncancel() == 0
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.wait([watcher])
        return left and exc_type is asyncio.CancelledError
