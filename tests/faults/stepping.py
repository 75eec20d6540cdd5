"""Event loops that count the steps of their tasks and do something before one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

import anyio
import trio


class Stepper:
    """Counts the steps that tasks take from one checkpoint to the next.

    Attributes:
        acted: Whether the action was called since :meth:`arm`.
    """

    def __init__(self) -> None:
        self.acted = False
        self._left = -1
        self._action: Callable[[], object] = int

    def arm(self, steps: int, action: Callable[[], object]) -> None:
        """Have ``action`` called after so many more steps, between two of them."""
        self.acted = False
        self._set(steps, action)

    def go_on(self, steps: int, action: Callable[[], object]) -> None:
        """Have another ``action`` called so many steps after the first."""
        self._set(steps, action)

    def disarm(self) -> None:
        """Forget the action."""
        self._left = -1

    def step(self) -> None:
        """Take note that a step begins."""
        self._left -= 1
        if self._left == -1:
            self.acted = True
            self._action()

    def _set(self, steps: int, action: Callable[[], object]) -> None:
        self._left = steps
        self._action = action


@contextmanager
def attempt(number: int) -> Generator[None]:
    """Note on what fails in the block which attempt it was."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in attempt {number}")
        raise


class _SteppingLoop(asyncio.SelectorEventLoop):
    """Whatever a task or a protocol does is begun by a callback."""

    stepper = Stepper()

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon(self._step, callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon_threadsafe(self._step, callback, *args, context=context)

    def _step(self, callback: Callable[..., object], *args: Any) -> None:
        self.stepper.step()
        callback(*args)


class _Instrument(trio.abc.Instrument):
    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._stepper.step()


def run(backend: str, main: Callable[[Stepper], Awaitable[object]]) -> None:
    """Run ``main(stepper)`` in a loop of its own, on ``"asyncio"`` or ``"trio"``."""
    stepper = Stepper()
    options: dict[str, Any] = {}
    if backend == "trio":
        options["instruments"] = [_Instrument(stepper)]
    else:
        loop_class = type("SteppingLoop", (_SteppingLoop,), {"stepper": stepper})
        options["loop_factory"] = loop_class
    anyio.run(main, stepper, backend=backend, backend_options=options)
