"""The screen of a pipe: a line is a question, and answers are plain text."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import anyio
import click

from flowcore.chat.reply import Reply
from flowcore.errors import ConfigError
from flowcore.terminal import ChunkPrinter, printable


class PlainScreen:
    """Reads standard input; answers go to standard output, all else to standard error."""

    def __init__(self) -> None:
        stdin: object = sys.stdin
        if isinstance(stdin, io.TextIOWrapper):
            stdin.reconfigure(errors="replace")

    async def read(self) -> str | None:
        """Return the next line, or None at the end."""
        if sys.stdin.isatty():
            click.echo("> ", nl=False, err=True)
        line = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        return line.rstrip("\r\n") if line else None

    async def read_value(self, name: str, schema: Mapping[str, Any]) -> str | None:  # noqa: ARG002
        """Refuse: nobody is there to ask.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"the flow also needs {name}=…; give it after the name of the flow")

    @contextmanager
    def answering(self, stop: Callable[[], object]) -> Generator[ChunkPrinter]:  # noqa: ARG002
        """Print chunks as `flowcore call` does; an interrupt ends the program."""
        printer = ChunkPrinter()
        try:
            yield printer
        finally:
            printer.close()

    def conclude(self, reply: Reply) -> None:
        """Print what went wrong, if anything did."""
        if reply.error:
            self.complain(reply.error)

    def say(self, text: str) -> None:
        """Print nothing: who reads a pipe wants answers."""

    def complain(self, text: str) -> None:
        """Print to standard error."""
        click.echo(f"Error: {printable(text)}", err=True)
