"""The command ``flowcore``."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flowcore import __version__
from flowcore.errors import (
    ConfigError,
    FlowcoreError,
    InputError,
    PluginError,
    RegistryError,
    did_you_mean,
)

if TYPE_CHECKING:
    from flowcore.app import FlowApp
    from flowcore.config import FlowConfig

F = TypeVar("F", bound=Callable[..., Any])

HELP = """Serve flows of LLM ops as streams of typed chunks.

\b
flowcore config=my.yaml                       serve the flows of my.yaml
flowcore config=my backend=http http.port=0   the same, with values overridden
flowcore call FLOW query="What is AI?"        run a flow and print its stream

Without a subcommand, key=value arguments mean `serve`. SETTINGS are config=NAME (a path or
a bare name; several with commas) and a.b.c=value for any key of the configuration.
"""


class _UsageFailure(click.ClickException):
    exit_code = 2


class _Group(click.Group):
    """Understands ``flowcore key=value …`` as ``flowcore serve key=value …``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and "=" in args[0] and not args[0].startswith("-"):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self.commands) or "; settings are written as key=value"
            if args[0].endswith((".yaml", ".yml")):
                hint = f"; did you mean config={args[0]}?"
            ctx.fail(f"no such command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FlowcoreError as error:
            said_wrong = isinstance(error, ConfigError | RegistryError | PluginError | InputError)
            note = (
                f" ({ctx.obj})" if said_wrong and ctx.obj and "default.yaml" in str(error) else ""
            )
            kind = _UsageFailure if said_wrong else click.ClickException
            raise kind(f"{error}{note}") from error
        except BrokenPipeError:
            # The reader of our output has left, as `head` does.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            ctx.exit(1)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EIO}:
                raise
            raise click.ClickException(f"cannot write the output: {error.strerror}") from error


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


def _settings(function: F) -> F:
    return click.argument("settings", nargs=-1, metavar="[SETTINGS]...")(function)


@main.command()
@_settings
def serve(settings: tuple[str, ...]) -> None:
    """Start the configured service: `backend`, by default http."""
    app = _app(_config(settings))
    app.service().run(app)


@main.command()
@click.argument("flow")
@click.argument("inputs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-c", "--config", "names", multiple=True, metavar="NAME", help="Config to load.")
@click.option(
    "-s", "--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a key."
)
@click.option("--url", metavar="URL", help="Run the flow on this server instead of here.")
@click.option("--json", "as_json", is_flag=True, help="Print each chunk as a line of JSON.")
def call(
    flow: str,
    inputs: tuple[str, ...],
    names: tuple[str, ...],
    overrides: tuple[str, ...],
    url: str | None,
    as_json: bool,
) -> None:
    """Run FLOW with inputs KEY=VALUE and print its stream.

    The answer goes to standard output, everything else to standard error. A value is taken as
    the flow's input_schema says, else as text. config=NAME is the same as -c NAME, unless -c is
    given as well.
    """
    from flowcore.calling import call_here, call_server  # noqa: PLC0415 - slow to import
    from flowcore.terminal import ChunkPrinter, JsonPrinter  # noqa: PLC0415

    for pair in inputs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise click.UsageError(f"an input is written as key=value, not {pair!r}")
    pairs = dict(pair.split("=", 1) for pair in inputs)
    if not names and "config" in pairs:
        names = tuple(pairs.pop("config").split(","))
    app = _app(
        _config([*(f"config={name}" for name in names), *overrides], optional=url is not None)
    )
    printer = JsonPrinter() if as_json else ChunkPrinter()
    try:
        done = (
            call_server(app, url, flow, pairs, printer)
            if url
            else call_here(app, flow, pairs, printer)
        )
    except KeyboardInterrupt:
        printer.close()
        sys.stdout.flush()
        # At its usual end, Python would wait for the thread of a sync op.
        os._exit(130)
    finally:
        printer.close()
    if not done:
        raise SystemExit(1)


@main.command()
@_settings
def check(settings: tuple[str, ...]) -> None:
    """Check the configuration and print the ops of each flow.

    Plugins, expressions, prompts and the settings of all backends are checked as at a start.
    """
    from flowcore.terminal import print_flows_as_trees  # noqa: PLC0415

    app = _app(_config(settings))
    app.backends.make_all()
    app.service().check(app)
    print_flows_as_trees(app)


@main.command()
@_settings
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def flows(settings: tuple[str, ...], as_json: bool) -> None:
    """List the flows of the configuration."""
    from flowcore.terminal import print_table  # noqa: PLC0415

    rows: list[dict[str, Any]] = [
        {
            "name": flow.name,
            "stream": flow.stream,
            "description": flow.description,
            "input_schema": flow.input_schema,
        }
        for flow in _app(_config(settings)).flows.values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        row["inputs"] = ", ".join(row.pop("input_schema")["properties"])
        row["stream"] = "yes" if row["stream"] else "no"
    print_table(rows)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(as_json: bool) -> None:
    """List the installed plugins, and why one could not be loaded."""
    from flowcore.plugins import PluginHost  # noqa: PLC0415
    from flowcore.terminal import print_table  # noqa: PLC0415

    logging.getLogger("flowcore").setLevel(logging.ERROR)  # failures are in the listing
    rows: list[dict[str, Any]] = [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "hooks": list(plugin.hooks),
            "error": plugin.error,
        }
        for plugin in PluginHost().plugins
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        hooks: list[str] = row["hooks"]
        row["hooks"] = ", ".join(hook.removeprefix("flowcore_") for hook in hooks)
    print_table(rows)


def _config(settings: Sequence[str], *, optional: bool = False) -> FlowConfig:
    from flowcore.config import load_config  # noqa: PLC0415

    names: list[str] = []
    overrides: list[str] = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            hint = (
                f"; did you mean config={setting}?" if setting.endswith((".yaml", ".yml")) else ""
            )
            raise click.UsageError(f"settings are written as key=value, not {setting!r}{hint}")
        if key == "config":
            names += [name for name in value.split(",") if name]
        else:
            overrides.append(setting)
    if not (names or optional):
        click.get_current_context().find_root().obj = (
            "no config=NAME was given, so that is `default`"
        )
    return load_config(*(names or ([{}] if optional else [])), *overrides)


def _app(config: FlowConfig) -> FlowApp:
    from flowcore.app import FlowApp  # noqa: PLC0415

    return FlowApp(config)
