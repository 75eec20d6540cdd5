"""The time that a connection may be idle, without a task that waits for it to pass."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypercorn.asyncio.task_group import TaskGroup


class IdleTimer:
    """Runs an action when a connection has been idle for long enough, or when all are to close.

    Takes the place of Hypercorn's, which makes a task for each request and waits for its end.

    Args:
        loop: The event loop.
        seconds: How long that is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._begin: Callable[[], object] = _nothing

    async def restart(self, task_group: TaskGroup, action: Callable[[], Awaitable[None]]) -> None:
        """Begin to count; at the end ``action`` is run in the task group."""
        self.start(self._seconds, task_group, action)

    def start(
        self, seconds: float, task_group: TaskGroup, action: Callable[[], Awaitable[None]]
    ) -> None:
        """Begin to count, with another time than the usual one."""
        self.cancel()
        self._begin = lambda: task_group.spawn(action)  # pyright: ignore[reportUnknownMemberType, reportUnknownLambdaType]
        self._timer = self._loop.call_later(seconds, self.expire)

    async def stop(self) -> None:
        """Do not run the action."""
        self.cancel()

    def cancel(self) -> None:
        """Do not run the action."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._begin = _nothing

    def expire(self) -> None:
        """Run the action now, if it has not been run and is still wanted."""
        begin = self._begin
        self.cancel()
        begin()


def _nothing() -> None:
    pass
