"""What SIGINT and SIGTERM mean to the service."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger("flowcore.http")

INTERRUPTED = 130
"""Exit code of a process that a second signal ended."""

ECHO_SECONDS = 0.1
"""How long after the first signal another one is taken for its echo.

A terminal and a launcher such as ``timeout`` may both pass the same signal on.
"""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """The signals that came: the first asks for a clean end, the second for one at once.

    Args:
        at_first: Called on the first signal, in the event loop.
        at_once: Called on the second signal, in the event loop.

    Attributes:
        first: Set by the first signal.
        retired: Set when another process has taken over; no signal says so.
        second: Set by the second signal.
    """

    def __init__(self, at_first: Callable[[], object], at_once: Callable[[], object]) -> None:
        self.first = asyncio.Event()
        self.retired = asyncio.Event()
        self.second = asyncio.Event()
        self._at_first = at_first
        self._at_once = at_once
        self._first_at = 0.0

    @contextmanager
    def installed(self) -> Generator[None, None, None]:
        """Handle the signals inside the block; call this in the main thread.

        After a block in which a signal came, another one ends the process.
        """
        loop = asyncio.get_running_loop()
        previous = {number: signal.getsignal(number) for number in _SIGNALS}

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._receive)

        for number in _SIGNALS:
            if sys.platform == "win32":
                signal.signal(number, on_signal)
            else:
                loop.add_signal_handler(number, self._receive)
        try:
            yield
        finally:
            for number, handler in previous.items():
                if sys.platform != "win32":
                    loop.remove_signal_handler(number)
                signal.signal(number, _exit_at_once if self.first.is_set() else handler)

    def _receive(self) -> None:
        now = time.monotonic()
        if not self.first.is_set():
            self.first.set()
            self._first_at = now
            self._at_first()
        elif now - self._first_at > ECHO_SECONDS and not self.second.is_set():
            self.second.set()
            self._at_once()


def exit_after(seconds: float, code: int) -> None:
    """End the process after ``seconds``, whatever it is doing then.

    Python waits at its end for every worker thread, also for one that a sync op keeps busy.
    """
    timer = threading.Timer(seconds, _exit, [code])
    timer.daemon = True
    timer.start()


def _exit(code: int) -> None:
    # Not print, which would wait for ever where standard error is a pipe that nobody reads.
    logger.error("a thread or a task did not end; leaving without it")
    os._exit(code)


def _exit_at_once(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
