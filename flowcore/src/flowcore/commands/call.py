"""``flowcore call``: run one flow and print its stream."""

from __future__ import annotations

from contextlib import suppress

import click

from flowcore.commands.completing import offering
from flowcore.commands.configured import app_for_flow, flow_options, split_inputs
from flowcore.interruption import leave_at_once


@click.command("call")
@click.argument("flow", shell_complete=offering("flows"))
@click.argument("inputs", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=offering("inputs"))
@flow_options
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

    values, configs = split_inputs(inputs, names)
    app = app_for_flow(configs, overrides, url)
    printer = JsonPrinter() if as_json else ChunkPrinter()
    times = OpTimes()
    tell = times.event if trace else None

    def end() -> None:
        printer.close()
        times.print()

    try:
        try:
            done = (
                call_server(app, url, flow, values, printer, tell)
                if url
                else call_here(app, flow, values, printer, tell)
            )
        except KeyboardInterrupt:
            # Who reads it may have been interrupted too; rich leaves then.
            with suppress(OSError, SystemExit):
                end()
            leave_at_once()
    finally:
        end()
    if trace:
        times.miss_events()
    if not done:
        raise SystemExit(1)
    printer.miss_answer()
