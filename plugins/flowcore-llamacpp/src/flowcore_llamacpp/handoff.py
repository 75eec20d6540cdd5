"""A queue from a worker thread to a task of the event loop, asyncio's or trio's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Handoff(Generic[T]):
    """Items that a thread puts and one task gets.

    ``put`` never waits: who uses it bounds the number of items. Made in the event loop that gets.
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._announced = False
        self._bell = _bell()

    def put(self, item: T) -> None:
        """Add an item, from any thread.

        Raises:
            RuntimeError: If the event loop has been closed.
        """
        self._items.append(item)
        # In this order, and the opposite one in _wake: what the loop does not see, it hears of.
        if not self._announced:
            self._announced = True
            self._bell.call_soon(self._wake)

    async def get(self) -> T:
        """Return the oldest item; wait where there is none."""
        while not self._items:
            # No lock: for whatever is put from here on, _wake runs after this task has paused.
            await self._bell.wait()
        return self._items.popleft()

    def _wake(self) -> None:
        self._announced = False
        self._bell.ring()


_CallSoon = Callable[[Callable[[], None]], object]


class _Bell(Protocol):
    """Wakes one task. anyio's Event would do, at several times the cost for each token."""

    call_soon: _CallSoon
    """Has a function called in the event loop, from any thread, without waiting for it."""

    def wait(self) -> Awaitable[None]: ...

    def ring(self) -> None: ...


class _AsyncioBell:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.call_soon: _CallSoon = loop.call_soon_threadsafe
        self._loop = loop
        self._future: asyncio.Future[None] | None = None

    def wait(self) -> Awaitable[None]:
        self._future = self._loop.create_future()
        return self._future

    def ring(self) -> None:
        # It is done if the task that waits was cancelled.
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class _TrioBell:
    def __init__(self) -> None:
        import trio  # noqa: PLC0415  only where it runs

        self.call_soon: _CallSoon = trio.lowlevel.current_trio_token().run_sync_soon
        self._lot = trio.lowlevel.ParkingLot()

    def wait(self) -> Awaitable[None]:
        return self._lot.park()

    def ring(self) -> None:
        self._lot.unpark_all()


def _bell() -> _Bell:
    try:
        return _AsyncioBell(asyncio.get_running_loop())
    except RuntimeError:
        return _TrioBell()
