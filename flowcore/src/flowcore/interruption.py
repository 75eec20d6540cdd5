"""How commands that run ops end when the user interrupts them."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

T = TypeVar("T")

INTERRUPTED = 130
"""Exit code of a program that was interrupted: 128 and the number of SIGINT."""


def run_until_interrupt(function: Callable[[], Awaitable[T]]) -> T:
    """Run a function in an event loop of asyncio.

    Raises:
        KeyboardInterrupt: If the user interrupts it.
    """
    import asyncio  # noqa: PLC0415 - here and below: slow to import

    import anyio  # noqa: PLC0415

    try:
        return anyio.run(function)
    except asyncio.CancelledError:
        # What an interrupt becomes where something else was being cancelled at that moment.
        raise KeyboardInterrupt from None


def leave_at_once(code: int = INTERRUPTED) -> NoReturn:
    """End the program. At its usual end, Python would wait for the threads of sync ops."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
