"""A terminal for tests: a program in it, and what its screen shows."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyte

PATIENCE = 60
CTRL_C, CTRL_D, UP, ALT_ENTER, ENTER = "\x03", "\x04", "\x1b[A", "\x1b\r", "\r"
# Makes the terminal the one whose Ctrl-C interrupts the program. To do it between fork and exec is
# not safe in a process with threads.
_IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """Runs a program in a pseudo-terminal and keeps its screen, with what scrolled off."""

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        columns: int = 60,
        rows: int = 20,
    ) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._fd, inside = os.openpty()
        termios.tcsetwinsize(inside, (rows, columns))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _IN_TERMINAL, *command],
            cwd=cwd,
            env=environment,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)
        # What a terminal answers to questions about itself.
        self._screen.write_process_input = self.type

    def type(self, data: str) -> None:
        os.write(self._fd, data.encode())

    def resize(self, columns: int, rows: int) -> None:
        termios.tcsetwinsize(self._fd, (rows, columns))
        self._screen.resize(rows, columns)

    @property
    def lines(self) -> list[str]:
        """All lines, those that scrolled off too."""
        width = self._screen.columns
        gone = ["".join(line[x].data for x in range(width)) for line in self._screen.history.top]
        return [line.rstrip() for line in (*gone, *self._screen.display)]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip()

    def wait_for(self, text: str, count: int = 1) -> str:
        """Wait until the text is on the screen so many times, and return all that is there."""
        deadline = time.monotonic() + PATIENCE
        while self.text.count(text) < count:
            assert time.monotonic() < deadline, f"{text!r} did not come:\n{self.text}"
            self._read()
        return self.text

    def wait_for_prompt(self) -> str:
        """Wait until a question can be typed."""
        deadline = time.monotonic() + PATIENCE
        while not self.text.endswith("> your question"):
            assert time.monotonic() < deadline, f"no prompt came:\n{self.text}"
            self._read()
        return self.text

    def ask(self, question: str) -> str:
        """Ask, wait for the answer and return the screen."""
        self.type(question + ENTER)
        self.wait_for(f"> {question}")
        return self.wait_for_prompt()

    def end(self) -> int:
        """Wait for the end of the program and return its exit code."""
        deadline = time.monotonic() + PATIENCE
        while (code := self._process.poll()) is None:
            assert time.monotonic() < deadline, f"it did not end:\n{self.text}"
            self._read()
        self._read()
        return code

    def close(self) -> None:
        """End the program, whatever it does."""
        self._process.kill()
        self._process.wait()
        os.close(self._fd)

    def _read(self) -> None:
        if not select.select([self._fd], [], [], 0.1)[0]:
            return
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux says it like this when the program has ended
            time.sleep(0.01)
            return
        self.raw += data
        self._stream.feed(data)
