"""How commands that run ops end when the user interrupts them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TypeVar

T = TypeVar("T")

_STOPPING = "stopping; a second Ctrl-C ends at once\n"
_SHOW_CURSOR = "\x1b[?25h"
INTERRUPTED = 130
"""Exit code of a program that was interrupted: 128 and the number of SIGINT."""


def run_until_interrupt(function: Callable[[], Awaitable[T]]) -> T:
    """Run a function in an event loop of asyncio.

    An interrupt cancels the function, and says so on standard error. The second ends the program
    at once, for an op may ignore its cancellation, and the loop waits for it.

    Raises:
        KeyboardInterrupt: If the user interrupts it.
    """
    import asyncio  # noqa: PLC0415 - here and below: slow to import

    import anyio  # noqa: PLC0415

    before = signal.getsignal(signal.SIGINT)

    async def interruptible() -> T:
        _leave_at_second_interrupt()
        return await function()

    try:
        return anyio.run(interruptible)
    except asyncio.CancelledError:
        # What an interrupt becomes where something else was being cancelled at that moment.
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _leave_at_second_interrupt() -> None:
    first = signal.getsignal(signal.SIGINT)  # that of the loop
    if threading.current_thread() is not threading.main_thread() or not callable(first):
        return

    def second(number: int, frame: object) -> None:
        del number, frame
        _say("", on_terminal=_SHOW_CURSOR)  # which a progress bar hides
        os._exit(INTERRUPTED)  # nothing is flushed: there may be nobody who reads it

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, second)
        _say(_STOPPING, on_terminal="\n")  # below ^C and a progress bar
        first(number, frame)

    signal.signal(signal.SIGINT, handle)


def _say(text: str, *, on_terminal: str) -> None:
    """Write a text on standard error, and before it what is for terminals only."""
    # What was interrupted may be a write: the stream would refuse another one within it.
    with suppress(OSError, ValueError, AttributeError):
        number = sys.stderr.fileno()
        os.write(number, f"{on_terminal if os.isatty(number) else ''}{text}".encode())


def leave_at_once(code: int = INTERRUPTED) -> NoReturn:
    """End the program. At its usual end, Python would wait for the threads of sync ops."""
    try:
        for stream in (sys.stdout, sys.stderr):
            # Whoever started the program may have closed one, and who reads one have left.
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
    finally:  # also at another interrupt, while it waits for a reader
        os._exit(code)


@contextmanager
def leaving_at_interrupt() -> Generator[None]:
    """End the program at an interrupt, wherever in the block it comes."""
    try:
        yield
    except KeyboardInterrupt:
        _say("", on_terminal="\n")  # below ^C
        leave_at_once()
