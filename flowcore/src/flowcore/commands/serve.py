"""``flowcore serve``: start the configured service."""

from __future__ import annotations

import click

from flowcore.commands.configured import app_of, config_of, settings_argument


@click.command("serve")
@settings_argument
def command(settings: tuple[str, ...]) -> None:
    """Start the configured service: `backend`, by default http."""
    app = app_of(config_of(settings))
    app.service().run(app)
