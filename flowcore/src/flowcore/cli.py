"""The command ``flowcore``: what its subcommands have in common."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from flowcore import __version__
from flowcore.commands import NAMES, SECTIONS
from flowcore.commands.completing import offering
from flowcore.errors import (
    BatchError,
    ConfigError,
    FlowcoreError,
    InputError,
    PluginError,
    RegistryError,
    UnknownNameError,
    did_you_mean,
)
from flowcore.interruption import leaving_at_interrupt

HELP = """Serve flows of LLM ops as streams of typed chunks.

\b
flowcore new app my-bot                       make a project to start from
flowcore config=my.yaml                       serve the flows of my.yaml
flowcore config=my backend=http http.port=0   the same, with values overridden
flowcore call FLOW query="What is AI?"        run a flow and print its stream

Without a subcommand, key=value arguments mean `serve`. SETTINGS are config=NAME (a path or
a bare name; several with commas) and a.b.c=value for any key of the configuration.
"""


_SAID_WRONG = (ConfigError, RegistryError, PluginError, InputError, BatchError)
"""What whoever typed the command has to mend."""
_SAID_WRONG_TO_SERVERS = frozenset({"invalid_input", "unknown_flow"})
"""The same, where a server finds it."""


class _UsageFailure(click.ClickException):
    exit_code = 2


class _Group(click.Group):
    """Understands ``flowcore key=value …`` as ``flowcore serve key=value …``."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command, or answer a shell that asks how a line may go on."""
        if not os.environ.get("_FLOWCORE_COMPLETE"):
            return super().main(*args, **kwargs)
        from flowcore.completion.shells import register  # noqa: PLC0415 - only for shells

        with suppress(Exception):  # a shell can do nothing with a traceback
            register()
            super().main(*args, **kwargs)
        sys.exit(1)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Return commands, and settings, as they mean `serve`."""
        items: list[Any] = super().shell_complete(ctx, incomplete)
        if not items:
            return offering("settings")(ctx, self.params[0], incomplete)
        if "config=".startswith(incomplete):
            items += offering("config_setting")(ctx, self.params[0], incomplete)
        return items

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first.startswith("--reload") or ("=" in first and not first.startswith("-")):
            args = ["serve", *args]
        with _dashes_explained():
            return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [*NAMES]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, NAMES))
        for section, names in SECTIONS.items():
            commands = ((name, self.get_command(ctx, name)) for name in names)
            rows = [
                (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                for name, command in commands
                if command is not None
            ]
            with formatter.section(section):
                formatter.write_dl(rows)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in NAMES:
            return None
        return import_module(f"flowcore.commands.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        if args and args[0] not in NAMES and not args[0].startswith("-"):
            hint = did_you_mean(args[0], NAMES) or "; settings are written as key=value"
            if args[0].endswith((".yaml", ".yml")) or Path(f"{args[0]}.yaml").is_file():
                hint = f"; did you mean config={args[0]}?"
            ctx.fail(f"no such command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with leaving_at_interrupt(), _dashes_explained():
                return super().invoke(ctx)
        except FlowcoreError as error:
            # What a server says of a request is as wrong as what is said here of arguments.
            code = getattr(error, "problem", {}).get("code", error.code)
            said_wrong = isinstance(error, _SAID_WRONG) or code in _SAID_WRONG_TO_SERVERS
            of_default = "default.yaml" in str(error) or isinstance(error, UnknownNameError)
            note = f" ({ctx.obj})" if said_wrong and ctx.obj and of_default else ""
            kind = _UsageFailure if said_wrong else click.ClickException
            raise kind(f"{error}{note}{_pointer(code)}") from error
        except BrokenPipeError:
            # The reader of our output has left, as `head` does.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            ctx.exit(1)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EIO}:
                raise
            raise click.ClickException(f"cannot write the output: {error.strerror}") from error


@contextmanager
def _dashes_explained() -> Generator[None]:
    try:
        yield
    except click.NoSuchOption as error:
        option = error.option_name
        # Some commands have -c, and so it is tried with all.
        key = "config" if option == "-c" else option.lstrip("-")
        text = f"Settings and inputs are written without dashes: {key}=…"
        raise click.NoSuchOption(
            option, f"{error.message} {text}", error.possibilities, error.ctx
        ) from None


def _pointer(code: str) -> str:
    from flowcore.explain import pointer  # noqa: PLC0415 - only for errors

    line = pointer(code)
    return f"\n{line}" if line else ""


@click.group(cls=_Group, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="flowcore %(version)s")
def main() -> None:  # noqa: D103 - its help text is HELP
    from flowcore.logs import configure  # noqa: PLC0415 - no help text needs it

    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    configure(
        os.environ.get("FLOWCORE_LOG_LEVEL", "WARNING").upper(),
        os.environ.get("FLOWCORE_LOG_FORMAT", "text").lower(),
    )
