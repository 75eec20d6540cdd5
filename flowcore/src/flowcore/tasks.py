"""The tasks in which the runs of an app are executed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup


class RunTasks:
    """Starts tasks that none of the others disturbs, and waits for all of them on leaving.

    On asyncio they are bare tasks. One of a task group of anyio comes with a handle, a scope and
    an event, for which a small run would pay a fifth of what it costs; and a run has a scope of its
    own.
    """

    def __init__(self) -> None:
        self._group: TaskGroup = anyio.create_task_group()
        self._bare: set[asyncio.Task[None]] = set()
        self._discard = self._bare.discard
        is_asyncio = anyio.get_cancelled_exc_class() is asyncio.CancelledError
        self._loop = asyncio.get_running_loop() if is_asyncio else None

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._bare:
            self._group.start_soon(self._outlive)
        await self._group.__aexit__(kind, error, traceback)

    def start(
        self, function: Callable[..., Coroutine[Any, Any, None]], *args: object, name: str
    ) -> None:
        """Start a task that calls ``function(*args)``, which raises nothing."""
        if self._loop is not None:
            task = self._loop.create_task(function(*args), name=name)
            self._bare.add(task)
            task.add_done_callback(self._discard)
        else:
            self._group.start_soon(function, *args, name=name)

    async def _outlive(self) -> None:
        # Those who want them to end tell the runs.
        with anyio.CancelScope(shield=True):
            while self._bare:
                await asyncio.wait(self._bare)
