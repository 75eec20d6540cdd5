"""A queue from a worker thread to a task of the event loop, asyncio's or trio's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class Handoff(Generic[T]):
    """Items that a thread puts and one task gets.

    ``put`` never waits: who uses it bounds the number of items. Made in the event loop that gets.
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._ready = anyio.Event()
        self._call_soon = _call_soon()

    def put(self, item: T) -> None:
        """Add an item, from any thread.

        Raises:
            RuntimeError: If the event loop has been closed.
        """
        self._items.append(item)
        self._call_soon(self._wake)

    async def get(self) -> T:
        """Return the oldest item; wait where there is none."""
        while not self._items:
            # No lock: whatever is put from here on calls _wake after this task has paused.
            self._ready = anyio.Event()
            await self._ready.wait()
        return self._items.popleft()

    def _wake(self) -> None:
        self._ready.set()


def _call_soon() -> Callable[[Callable[[], None]], object]:
    # anyio can call into the loop from a thread, but only to wait for the result; a thread that
    # waits for each token would slow the model.
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        import trio  # noqa: PLC0415  only where it runs

        return trio.lowlevel.current_trio_token().run_sync_soon
