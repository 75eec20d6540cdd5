"""The help texts of the command line."""

from __future__ import annotations

import click

from flowcore.cli import main

WIDTH = 78
"""Of a terminal with 80 columns."""


def help_text(name: str = "") -> str:
    """Return a block that asks for the help of a subcommand, or of ``flowcore`` itself."""
    context = click.Context(
        main, info_name="flowcore", terminal_width=WIDTH, **main.context_settings
    )
    text = main.get_help(context)
    if name:
        command = main.get_command(context, name)
        if command is None:
            raise LookupError(f"there is no command {name!r}")
        own = click.Context(command, info_name=name, parent=context)
        text = command.get_help(own)
    words = ["flowcore", name, "--help"]
    return f"```console\n$ {' '.join(word for word in words if word)}\n{text}\n```"
