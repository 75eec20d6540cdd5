"""A terminal for tests: a program in it, and what its screen shows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pexpect
import pyte

PATIENCE = 60
CTRL_C, CTRL_D, UP, ALT_ENTER, ENTER = "\x03", "\x04", "\x1b[A", "\x1b\r", "\r"


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
        self._child = pexpect.spawn(
            command[0],
            [*command[1:]],
            cwd=str(cwd),
            env=dict(environment),
            dimensions=(rows, columns),
            timeout=PATIENCE,
        )
        # What a terminal answers to questions about itself.
        self._screen.write_process_input = self._answer

    def type(self, keys: str) -> None:
        self._child.send(keys)

    def resize(self, columns: int, rows: int) -> None:
        self._child.setwinsize(rows, columns)
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
        while True:
            try:
                self._read()
            except pexpect.EOF:
                break
        self._child.close()
        assert self._child.exitstatus is not None, f"killed by {self._child.signalstatus}"
        return self._child.exitstatus

    def kill(self) -> None:
        self._child.close(force=True)

    def _answer(self, data: str) -> None:
        self._child.send(data)

    def _read(self) -> None:
        try:
            data = self._child.read_nonblocking(65536, timeout=0.1)
        except pexpect.TIMEOUT:
            return
        self.raw += data
        self._stream.feed(data)
