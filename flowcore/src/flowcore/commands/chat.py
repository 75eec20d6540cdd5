"""``flowcore chat``: a conversation in the terminal."""

from __future__ import annotations

import os
import sys
import threading

import click

from flowcore.commands.completing import offering
from flowcore.commands.configured import app_of, config_of, config_options


@click.command("chat")
@click.argument(
    "arguments",
    nargs=-1,
    metavar="[FLOW] [KEY=VALUE]...",
    shell_complete=offering("flow_or_inputs"),
)
@config_options
@click.option("--url", metavar="URL", help="Run the flow on this server instead of here.")
def command(
    arguments: tuple[str, ...],
    names: tuple[str, ...],
    overrides: tuple[str, ...],
    url: str | None,
) -> None:
    """Converse with FLOW, by default the first that streams.

    What is entered becomes the input query, and what was said before the input messages; other
    inputs are given as KEY=VALUE, or asked for. /help lists what else can be entered.

    Where input or output is no terminal, each line is a question, and answers are plain text.
    """
    from flowcore.chat.running import chat_here, chat_with_server  # noqa: PLC0415 - slow to import

    flow = arguments[0] if arguments and "=" not in arguments[0] else None
    inputs = arguments[flow is not None :]
    for pair in inputs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise click.UsageError(f"an input is written as key=value, not {pair!r}")
    pairs = dict(pair.split("=", 1) for pair in inputs)
    if not names and "config" in pairs:
        names = tuple(pairs.pop("config").split(","))
    app = app_of(
        config_of([*(f"config={name}" for name in names), *overrides], optional=url is not None)
    )
    try:
        failures = chat_with_server(app, url, flow, pairs) if url else chat_here(app, flow, pairs)
        code = 1 if failures else 0
    except KeyboardInterrupt:
        code = 130
    if any(not thread.daemon for thread in threading.enumerate()[1:]):
        # At its usual end, Python would wait for the threads of sync ops whose runs were stopped.
        sys.stdout.flush()
        os._exit(code)
    raise SystemExit(code)
