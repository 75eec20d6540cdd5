"""Worker threads for code that blocks, as many at a time as the app allows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import checkpoint

from flowcore.errors import RunCancelledError, RunFailedError
from flowcore.failure import error_text

P = ParamSpec("P")
T = TypeVar("T")

_in_worker: ContextVar[bool] = ContextVar("in_worker", default=False)


class _Thread(threading.local):
    call: _Call | None = None


_thread = _Thread()


async def run_in_worker(function: Callable[[], T], limiter: anyio.CapacityLimiter) -> T:
    """Run ``function`` in a worker thread and return its result.

    Where the caller is cancelled, the thread is left to finish by itself. It counts against the
    limit until then: callers that come and go cannot heap up threads.
    """
    if _in_worker.get():
        # The thread that waits for this call sleeps meanwhile. Were this one to wait for a place
        # as well, a pool full of such callers would wait for ever.
        return await _start_thread(function, _Call())
    call = _Call()
    place = object()
    give_back = partial(_scheduler(), partial(limiter.release_on_behalf_of, place))
    await limiter.acquire_on_behalf_of(place)
    try:
        return await _start_thread(partial(_work, function, call, give_back), call)
    finally:
        with call.lock:
            running = call.state is _State.RUNNING
            if call.state is not _State.FINISHED:
                call.state = _State.ABANDONED
        if not running:
            limiter.release_on_behalf_of(place)


# Functions of their own: from one that is nested in another, an exception that has come through it
# would hold what it has from there, and so the run, for as long as the exception is held.


def _work(function: Callable[[], T], call: _Call, give_back: Callable[[], object]) -> T:
    with call.lock:
        if call.state is _State.ABANDONED:
            raise RuntimeError("abandoned before it began")  # nobody hears it
        call.state = _State.RUNNING
    _in_worker.set(True)
    try:
        return function()
    finally:
        with call.lock:
            abandoned = call.was_abandoned()
            call.state = _State.FINISHED
        if abandoned:
            # The event loop may have ended meanwhile, or be about to: nobody waits for it.
            with suppress(RuntimeError):
                give_back()


def _guarded(function: Callable[[], T], call: _Call) -> T:
    _thread.call = call
    try:
        return function()
    except Exception:
        raise
    except BaseException as error:
        # A coroutine into which GeneratorExit is thrown is closed, past every handler.
        raise RunFailedError(f"an op raised {error_text(error)}") from error
    finally:
        _thread.call = None


def _scheduler() -> Callable[[Callable[[], object]], object]:
    """Return what has the running event loop call a function, from a thread, without waiting."""
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        return asyncio.get_running_loop().call_soon_threadsafe
    import trio  # noqa: PLC0415 - it is there, for it is what runs

    return trio.lowlevel.current_trio_token().run_sync_soon


class _State(Enum):
    WAITING = auto()
    RUNNING = auto()
    ABANDONED = auto()
    FINISHED = auto()


@dataclass
class _Call:
    state: _State = _State.WAITING
    lock: threading.Lock = field(default_factory=threading.Lock)
    scopes: set[anyio.CancelScope] = field(default_factory=set[anyio.CancelScope])
    left: bool = False
    """Whether nobody waits for the thread any more; like ``scopes``, known to the loop only."""
    empty: anyio.Event | None = None

    def was_abandoned(self) -> bool:
        return self.state is _State.ABANDONED

    async def leave(self) -> None:
        """Cancel what the thread runs in the event loop, and wait for its cleanup."""
        self.left = True
        for scope in tuple(self.scopes):
            scope.cancel()
        if self.scopes:
            self.empty = anyio.Event()
            with anyio.CancelScope(shield=True):
                await self.empty.wait()

    def ended(self, scope: anyio.CancelScope) -> None:
        self.scopes.discard(scope)
        if self.empty is not None and not self.scopes:
            self.empty.set()


async def _start_thread(function: Callable[[], T], call: _Call) -> T:
    unlimited = anyio.CapacityLimiter(1)
    try:
        return await anyio.to_thread.run_sync(
            partial(_guarded, function, call), limiter=unlimited, abandon_on_cancel=True
        )
    finally:
        await call.leave()


def from_worker(
    function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run ``function`` in the event loop and wait for it, from the worker thread of a sync op.

    Raises:
        RunCancelledError: If the op is cancelled meanwhile, or was before.
        RuntimeError: If the calling thread was not started by flowcore (anyio).
    """
    call = _thread.call or _Call()
    return anyio.from_thread.run(_run_in_loop, call, partial(function, *args, **kwargs))


async def _run_in_loop(call: _Call, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    # Not in the scope in which the thread was started: that one is left when the op is cancelled,
    # and what is in a scope that was left is never cancelled, or for ever.
    with anyio.CancelScope(shield=True) as scope:
        call.scopes.add(scope)
        try:
            if call.left:
                scope.cancel()
                await checkpoint()
            return await function()
        finally:
            call.ended(scope)
    raise RunCancelledError("the op was cancelled")
