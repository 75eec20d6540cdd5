"""Context managers for what is iterated over, which say so where ``with`` was forgotten."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from functools import wraps
from types import TracebackType
from typing import NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def async_entrance(
    function: Callable[P, AsyncGenerator[T]],
) -> Callable[P, AbstractAsyncContextManager[T]]:
    """Decorate as ``asynccontextmanager`` does; to iterate over the result is a clear error."""
    make = asynccontextmanager(function)

    @wraps(function)
    def enter(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
        return _AsyncEntrance(make(*args, **kwargs), function.__name__)

    return enter


def entrance(function: Callable[P, Generator[T]]) -> Callable[P, AbstractContextManager[T]]:
    """Decorate as ``contextmanager`` does; to iterate over the result is a clear error."""
    make = contextmanager(function)

    @wraps(function)
    def enter(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[T]:
        return _Entrance(make(*args, **kwargs), function.__name__)

    return enter


class _AsyncEntrance(AbstractAsyncContextManager[T]):
    def __init__(self, manager: AbstractAsyncContextManager[T], name: str) -> None:
        self._manager = manager
        self._name = name

    async def __aenter__(self) -> T:
        return await self._manager.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, traceback)

    def __aiter__(self) -> NoReturn:
        raise TypeError(
            f"enter it first: `async with app.{self._name}(…) as chunks:`, and in that block "
            "`async for chunk in chunks:`"
        )


class _Entrance(AbstractContextManager[T]):
    def __init__(self, manager: AbstractContextManager[T], name: str) -> None:
        self._manager = manager
        self._name = name

    def __enter__(self) -> T:
        return self._manager.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._manager.__exit__(kind, error, traceback)

    def __iter__(self) -> NoReturn:
        raise TypeError(
            f"enter it first: `with app.{self._name}(…) as chunks:`, and in that block "
            "`for chunk in chunks:`"
        )
