"""``flowcore chat``: a conversation in the terminal."""

from __future__ import annotations

import threading

import click

from flowcore.commands.completing import offering
from flowcore.commands.configured import app_for_flow, flow_options, split_inputs
from flowcore.interruption import INTERRUPTED, leave_at_once


@click.command("chat")
@click.argument(
    "arguments",
    nargs=-1,
    metavar="[FLOW] [KEY=VALUE]...",
    shell_complete=offering("flow_or_inputs"),
)
@flow_options
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
    inputs, configs = split_inputs(arguments[flow is not None :], names)
    app = app_for_flow(configs, overrides, url)
    try:
        failures = chat_with_server(app, url, flow, inputs) if url else chat_here(app, flow, inputs)
        code = 1 if failures else 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    if any(not thread.daemon for thread in threading.enumerate()[1:]):
        leave_at_once(code)
    raise SystemExit(code)
