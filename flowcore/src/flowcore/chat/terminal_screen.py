"""The screen of a terminal."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from flowcore.chat.answer import AnswerView
from flowcore.chat.keyboard import Keyboard, silent
from flowcore.chat.reply import Reply
from flowcore.logs import TextFormatter
from flowcore.terminal import printable


class TerminalScreen:
    """Shows answers as Markdown while they come, and reads a line that can be edited.

    Args:
        keyboard: Where the user types.
    """

    def __init__(self, keyboard: Keyboard) -> None:
        self._keyboard = keyboard
        self._console = Console(highlight=False)
        self._at_top = True
        self._log: list[str] | None = None

    async def read(self) -> str | None:
        """Return what the user enters next, or None at the end."""
        while True:
            self._console.print()
            try:
                with self._holding_the_log():
                    return await self._keyboard.read()
            except KeyboardInterrupt:
                self.say("Ctrl-D or /exit leaves.")
            except EOFError:
                return None

    async def read_value(self, name: str, schema: Mapping[str, Any]) -> str | None:
        """Ask for the value of an input; None if the user does not want to tell."""
        hints = [str(schema.get("description") or schema.get("type", ""))]
        if choices := schema.get("enum"):
            hints.append(f"one of {', '.join(map(str, choices))}")
        self.say(f"The flow also needs {name!r}: {'; '.join(filter(None, hints))}")
        try:
            return await self._keyboard.read_value(name)
        except (KeyboardInterrupt, EOFError):
            return None

    @contextmanager
    def answering(self, stop: Callable[[], object]) -> Generator[AnswerView]:
        """Show an answer inside the block; Ctrl-C calls ``stop``."""
        self._console.print()
        with self._holding_the_log(), silent(), _interrupts(stop):
            self._console.show_cursor(show=False)
            view = AnswerView(self._console)
            try:
                yield view
            finally:
                view.close()
                self._at_top = not view.anything
                self._console.show_cursor(show=True)

    def conclude(self, reply: Reply) -> None:
        """Show how an answer ended."""
        if reply.error:
            self.complain(reply.error)
        if reply.error or not self._at_top:
            self._console.print()
        self.say(reply.summary)

    def say(self, text: str) -> None:
        """Show something that is no part of the conversation."""
        self._console.print(Text(printable(text), style="dim"))

    def log(self, text: str) -> None:
        """Show a record of the log, after what the user types or reads at this moment."""
        if self._log is None:
            self.say(text)
        else:
            self._log.append(text)

    def complain(self, text: str) -> None:
        """Show that something is wrong."""
        first, _, more = printable(text).partition("\n")
        self._console.print(Text(f"Error: {first}", style="bold red"))
        if more:
            self._console.print(Text(more, style="dim"))

    @contextmanager
    def taking_the_log(self) -> Generator[None]:
        """Show the log in its place between answers, where it would go to this terminal."""
        root = logging.getLogger()
        if not (sys.stderr.isatty() and root.handlers):
            yield
            return
        before = root.handlers[:]
        root.handlers[:] = [_LogToScreen(self)]
        try:
            yield
        finally:
            root.handlers[:] = before

    @contextmanager
    def _holding_the_log(self) -> Generator[None]:
        self._log = []
        try:
            yield
        finally:
            held, self._log = self._log, None
            for record in held:
                self.say(record)


class _LogToScreen(logging.Handler):
    def __init__(self, screen: TerminalScreen) -> None:
        super().__init__()
        self.setFormatter(TextFormatter())
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "error_id") and not record.exc_info:
            return  # the end of the answer tells the same
        self._screen.log(self.format(record))


@contextmanager
def _interrupts(stop: Callable[[], object]) -> Generator[None]:
    """Let Ctrl-C call ``stop``; one more ends the program, for an op may not be stopped by that."""
    loop = asyncio.get_running_loop()

    def interrupted(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop.call_soon_threadsafe(stop)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
