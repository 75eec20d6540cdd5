"""The two classes that users derive their ops from."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import anyio.to_thread

from flowcore.backend import from_worker
from flowcore.errors import OpDefinitionError, did_you_mean
from flowcore.op import Op

T = TypeVar("T")

_COMMON = frozenset(inspect.signature(Op.__init__).parameters) - {"self", "name"}
_DESCRIPTORS = (property, classmethod, staticmethod)


class _DefinedOp(Op, ABC):
    """What the two bases have in common: the checks of a class and its own parameters."""

    def __init__(self, name: str = "", **params: Any) -> None:
        own = own_parameters(type(self))
        super().__init__(name, **{key: value for key, value in params.items() if key in _COMMON})
        for key in params.keys() - _COMMON:
            if key not in own:
                hint = did_you_mean(key, [*own, *_COMMON]) or (
                    "; an op declares its own parameters on the class "
                    f"(`{key}: {type(params[key]).__name__} = …`) or in its `__init__`"
                )
                raise OpDefinitionError(f"{type(self).__name__} has no parameter {key!r}{hint}")
            setattr(self, key, params[key])

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name = cls.__name__
        if not name.endswith("Op"):
            raise OpDefinitionError(
                f"the name of an op class must end in 'Op': rename {name!r} to '{name}Op'"
            )


def own_parameters(cls: type[Op]) -> list[str]:
    """Return the names of the parameters that an op class declares as class attributes."""
    names: dict[str, None] = {}
    for klass in cls.__mro__[: cls.__mro__.index(Op)]:
        if klass.__module__ == __name__:
            continue
        for name in (*inspect.get_annotations(klass), *vars(klass)):
            value = inspect.getattr_static(klass, name, None)
            if not (name.startswith("_") or callable(value) or isinstance(value, _DESCRIPTORS)):
                names[name] = None
    names.pop("file_path", None)
    return list(names)


class BaseAsyncOp(_DefinedOp):
    """An op that runs in the event loop. A subclass implements ``async_execute``.

    An op's own parameters are class attributes, or arguments of an ``__init__`` that passes its
    other keyword arguments on::

        class SearchOp(BaseAsyncOp):
            top_k: int = 5

    Args:
        name: Name for messages and sub-ops; by default the class name in snake case.
        **params: The op's own parameters, and those that all ops have: see :class:`Op`.

    Raises:
        OpDefinitionError: If a parameter is unknown or out of range.
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

    async def _attempt(self) -> Any:
        await self.async_before_execute()
        result = await self.async_execute()
        await self.async_after_execute()
        return result

    def _has_fallback(self) -> bool:
        return type(self).async_default_execute is not BaseAsyncOp.async_default_execute

    async def _fall_back(self, error: Exception) -> Any:
        return await self.async_default_execute(error)


class BaseOp(_DefinedOp):
    """An op that may block: it runs in a worker thread. A subclass implements ``execute``.

    Parameters are declared and given as for :class:`BaseAsyncOp`. Where the run is cancelled, the
    thread is left to finish by itself and its outcome is ignored.
    """

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

    def run_async(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Run a coroutine function in the event loop and wait for its result."""
        return from_worker(function, *args, **kwargs)

    async def _attempt(self) -> Any:
        return await self._in_thread(self._attempt_here)

    def _attempt_here(self) -> Any:
        self.before_execute()
        result = self.execute()
        self.after_execute()
        return result

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(
            function, limiter=self.run.resources.threads, abandon_on_cancel=True
        )

    def _has_fallback(self) -> bool:
        return type(self).default_execute is not BaseOp.default_execute

    async def _fall_back(self, error: Exception) -> Any:
        return await self._in_thread(partial(self.default_execute, error))
