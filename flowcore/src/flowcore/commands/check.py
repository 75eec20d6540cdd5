"""``flowcore check``: check a configuration and show its flows."""

from __future__ import annotations

import click

from flowcore.commands.configured import app_of, config_of, settings_argument


@click.command("check")
@settings_argument
def command(settings: tuple[str, ...]) -> None:
    """Check the configuration and print the ops of each flow.

    Plugins, expressions, prompts and the settings of all backends are checked as at a start.
    """
    from flowcore.terminal import print_flows_as_trees  # noqa: PLC0415

    app = app_of(config_of(settings))
    app.backends.make_all()
    app.service().check(app)
    print_flows_as_trees(app)
