"""``flowcore call``: run one flow and print its stream."""

from __future__ import annotations

import os
import sys

import click

from flowcore.commands.completing import offering
from flowcore.commands.configured import app_of, config_of, config_options


@click.command("call")
@click.argument("flow", shell_complete=offering("flows"))
@click.argument("inputs", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=offering("inputs"))
@config_options
@click.option("--url", metavar="URL", help="Run the flow on this server instead of here.")
@click.option("--trace", is_flag=True, help="Print how long each op took, on standard error.")
@click.option("--json", "as_json", is_flag=True, help="Print each chunk as a line of JSON.")
def command(
    flow: str,
    inputs: tuple[str, ...],
    names: tuple[str, ...],
    overrides: tuple[str, ...],
    url: str | None,
    trace: bool,
    as_json: bool,
) -> None:
    """Run FLOW with inputs KEY=VALUE and print its stream.

    The answer goes to standard output, everything else to standard error. A value is taken as
    the flow's input_schema says, else as text. config=NAME is the same as -c NAME, unless -c is
    given as well.
    """
    from flowcore.calling import call_here, call_server  # noqa: PLC0415 - slow to import
    from flowcore.terminal import ChunkPrinter, JsonPrinter, OpTimes  # noqa: PLC0415

    if trace and url is not None:
        raise click.UsageError("--trace tells of ops that run here, not of those at --url")
    for pair in inputs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise click.UsageError(f"an input is written as key=value, not {pair!r}")
    pairs = dict(pair.split("=", 1) for pair in inputs)
    if not names and "config" in pairs:
        names = tuple(pairs.pop("config").split(","))
    app = app_of(
        config_of([*(f"config={name}" for name in names), *overrides], optional=url is not None)
    )
    printer = JsonPrinter() if as_json else ChunkPrinter()
    times = OpTimes()
    try:
        done = (
            call_server(app, url, flow, pairs, printer)
            if url
            else call_here(app, flow, pairs, printer, times.event if trace else None)
        )
    except KeyboardInterrupt:
        printer.close()
        times.print()
        sys.stdout.flush()
        # At its usual end, Python would wait for the thread of a sync op.
        os._exit(130)
    finally:
        printer.close()
        times.print()
    if not done:
        raise SystemExit(1)
    printer.miss_answer()
