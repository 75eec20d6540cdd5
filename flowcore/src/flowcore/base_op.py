"""The two classes that users derive their ops from."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from flowcore.context import WorkerContext
from flowcore.errors import OpDefinitionError
from flowcore.user_op import UserOp
from flowcore.worker import from_worker, run_in_worker

T = TypeVar("T")


class BaseAsyncOp(UserOp):
    """An op that runs in the event loop. A subclass implements ``async_execute``.

    Parameters are those of :class:`UserOp`, and the op's own.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in (
            "async_before_execute",
            "async_execute",
            "async_after_execute",
            "async_default_execute",
        ):
            if not inspect.iscoroutinefunction(inspect.unwrap(getattr(cls, name))):
                raise OpDefinitionError(
                    f"{cls.__name__}.{name} must be written as `async def` without `yield`"
                )

    async def async_before_execute(self) -> None:
        """Called before each try of :meth:`async_execute`."""

    @abstractmethod
    async def async_execute(self) -> Any:
        """Do the work."""

    async def async_after_execute(self) -> None:
        """Called after each successful :meth:`async_execute`."""

    async def async_default_execute(self, error: Exception) -> Any:
        """Called once, after the last try, with its error; to override it is to have a fallback."""
        raise error

    def _attempt(self) -> Awaitable[Any]:
        cls = type(self)
        if (
            cls.async_before_execute is BaseAsyncOp.async_before_execute
            and cls.async_after_execute is BaseAsyncOp.async_after_execute
        ):
            return self.async_execute()  # each coroutine around it costs at each of its wake-ups
        return self._all_stages()

    async def _all_stages(self) -> Any:
        await self.async_before_execute()
        result = await self.async_execute()
        await self.async_after_execute()
        return result

    def _has_fallback(self) -> bool:
        return type(self).async_default_execute is not BaseAsyncOp.async_default_execute

    def _fall_back(self, error: Exception) -> Awaitable[Any]:
        return self.async_default_execute(error)


class BaseOp(UserOp):
    """An op that may block: it runs in a worker thread. A subclass implements ``execute``.

    Parameters are those of :class:`UserOp`, and the op's own. Where the run is cancelled, the
    thread is left to finish by itself and its outcome is ignored.
    """

    _context_type = WorkerContext

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("before_execute", "execute", "after_execute", "default_execute"):
            if inspect.iscoroutinefunction(inspect.unwrap(getattr(cls, name))):
                raise OpDefinitionError(
                    f"{cls.__name__}.{name} is `async def`; derive from BaseAsyncOp for that"
                )

    def before_execute(self) -> None:
        """Called before each try of :meth:`execute`."""

    @abstractmethod
    def execute(self) -> Any:
        """Do the work; called in a worker thread."""

    def after_execute(self) -> None:
        """Called after each successful :meth:`execute`."""

    def default_execute(self, error: Exception) -> Any:
        """Called once, after the last try, with its error; to override it is to have a fallback."""
        raise error

    def call(self, **values: Any) -> Any:
        """Blocking twin of ``async_call``, for a sub-op of a sync op."""
        return from_worker(self.async_call, **values)

    def run_async(
        self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any
    ) -> T:
        """Run a coroutine function in the event loop and wait for its result."""

        async def enclosed() -> T:
            with self.run.cleanup.enclosed():
                return await function(*args, **kwargs)

        return from_worker(enclosed)

    def _attempt(self) -> Awaitable[Any]:
        return self._in_thread(self._all_stages)

    def _all_stages(self) -> Any:
        self.before_execute()
        result = self.execute()
        self.after_execute()
        return result

    def _in_thread(self, function: Callable[[], T]) -> Awaitable[T]:
        return run_in_worker(function, self.run.resources.threads)

    def _has_fallback(self) -> bool:
        return type(self).default_execute is not BaseOp.default_execute

    def _fall_back(self, error: Exception) -> Awaitable[Any]:
        return self._in_thread(partial(self.default_execute, error))
