"""The command ``flowcore``: what its subcommands have in common."""

from __future__ import annotations

import errno
import io
import os
import sys
from importlib import import_module
from typing import Any

import click

from flowcore import __version__
from flowcore.commands import NAMES
from flowcore.errors import (
    BatchError,
    ConfigError,
    FlowcoreError,
    InputError,
    PluginError,
    RegistryError,
    did_you_mean,
)

HELP = """Serve flows of LLM ops as streams of typed chunks.

\b
flowcore config=my.yaml                       serve the flows of my.yaml
flowcore config=my backend=http http.port=0   the same, with values overridden
flowcore call FLOW query="What is AI?"        run a flow and print its stream

Without a subcommand, key=value arguments mean `serve`. SETTINGS are config=NAME (a path or
a bare name; several with commas) and a.b.c=value for any key of the configuration.
"""


_SAID_WRONG = (ConfigError, RegistryError, PluginError, InputError, BatchError)
"""What whoever typed the command has to mend."""


class _UsageFailure(click.ClickException):
    exit_code = 2


class _Group(click.Group):
    """Understands ``flowcore key=value …`` as ``flowcore serve key=value …``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first.startswith("--reload") or ("=" in first and not first.startswith("-")):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [*NAMES]

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
        if args and args[0] not in NAMES and not args[0].startswith("-"):
            hint = did_you_mean(args[0], NAMES) or "; settings are written as key=value"
            if args[0].endswith((".yaml", ".yml")):
                hint = f"; did you mean config={args[0]}?"
            ctx.fail(f"no such command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FlowcoreError as error:
            said_wrong = isinstance(error, _SAID_WRONG)
            note = (
                f" ({ctx.obj})" if said_wrong and ctx.obj and "default.yaml" in str(error) else ""
            )
            kind = _UsageFailure if said_wrong else click.ClickException
            raise kind(f"{error}{note}{_pointer(error)}") from error
        except BrokenPipeError:
            # The reader of our output has left, as `head` does.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            ctx.exit(1)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EIO}:
                raise
            raise click.ClickException(f"cannot write the output: {error.strerror}") from error


def _pointer(error: FlowcoreError) -> str:
    from flowcore.explain import pointer  # noqa: PLC0415 - only for errors

    line = pointer(error.code)
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
