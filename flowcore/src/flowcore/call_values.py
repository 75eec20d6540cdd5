"""What a call of an op was given, which only that call sees: calls go on side by side."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Generator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class CallValues(ChainMap[str, Any]):
    """The values of a call, and behind them those of its run, or of the call that it is part of.

    Args:
        own: What the call was given.
        outer: The others; what is written goes there, unless it has the name of an own value.
    """

    def __init__(self, own: Mapping[str, Any], outer: MutableMapping[str, Any]) -> None:
        super().__init__(dict(own), outer)

    def __setitem__(self, name: str, value: Any) -> None:
        self._home(name)[name] = value

    def __delitem__(self, name: str) -> None:
        del self._home(name)[name]

    def _home(self, name: str) -> MutableMapping[str, Any]:
        own, outer = self.maps
        return own if name in own else outer


current: ContextVar[CallValues | None] = ContextVar("flowcore_call_values", default=None)
"""The values of the call to which the running code belongs; None outside of calls with values.

Not in the context of the op: several calls of it may go on at the same time.
"""


@contextmanager
def given(own: Mapping[str, Any], of_run: MutableMapping[str, Any]) -> Generator[None]:
    """Let the code in the block, and the tasks that it starts, see the values of a call."""
    outer = current.get()
    token = current.set(CallValues(own, of_run if outer is None else outer))
    try:
        yield
    finally:
        current.reset(token)
