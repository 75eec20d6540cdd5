"""``flowcore serve``: start the configured service."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from flowcore.commands.configured import app_of, config_of, settings_argument, split_settings


@click.command("serve")
@settings_argument
@click.option(
    "--reload",
    is_flag=True,
    help="Load anew what changes: configurations, prompts, modules. What runs goes on to its end.",
)
@click.option(
    "--reload-include",
    "includes",
    multiple=True,
    metavar="PATH",
    type=click.Path(exists=True, path_type=Path),
    help="Reload when this file changes too, or anything in this folder.",
)
@click.option("--in-turn", "number", type=int, hidden=True)
def command(
    settings: tuple[str, ...], reload: bool, includes: tuple[Path, ...], number: int | None
) -> None:
    """Start the configured service: `backend`, by default http."""
    names, _ = split_settings(settings)
    if number is not None:
        from flowcore.reload.child import serve_in_turn  # noqa: PLC0415

        serve_in_turn(number, names, lambda: app_of(config_of(settings)))
    elif reload or includes:
        from flowcore.reload.supervisor import Supervisor, say_on_stderr  # noqa: PLC0415

        raise SystemExit(Supervisor(_child(settings), includes, say_on_stderr).run())
    else:
        app = app_of(config_of(settings))
        app.service().run(app)


def _child(settings: Sequence[str]) -> list[str]:
    """Return a command that starts this one again, short of an argument."""
    # `python -m` looks for modules in the current folder first, the console script does not.
    options = [] if {"", os.getcwd()} & {*sys.path} else ["-P"]  # noqa: PTH109 - as Python does
    options += [f"-W{warning}" for warning in sys.warnoptions]
    return [sys.executable, *options, "-m", "flowcore", "serve", *settings, "--in-turn"]
