"""``flowcore doctor``: what is installed and configured, and what of it would not work."""

from __future__ import annotations

import click

from flowcore.commands.configured import settings_argument, split_settings
from flowcore.commands.json_output import echo_json, json_option


@click.command("doctor")
@settings_argument
@click.option("--online", is_flag=True, help="Ask the services that models run on, too.")
@json_option
def command(settings: tuple[str, ...], online: bool, as_json: bool) -> None:
    """Show what is installed and configured, and what is wrong.

    Keys are told to be present or missing, and never shown; so --json is fit for a bug report.
    The exit code is 0 if a service can start, 1 if there is a problem.
    """
    from flowcore.doctor import examine  # noqa: PLC0415 - loads the whole core
    from flowcore.logs import only_errors  # noqa: PLC0415

    names, overrides = split_settings(settings)
    with only_errors():  # the rest is among the findings
        diagnosis = examine(names, overrides, online=online)
    if as_json:
        echo_json(diagnosis.as_data())
    else:
        from flowcore.doctor.printing import print_diagnosis  # noqa: PLC0415 - loads rich

        print_diagnosis(diagnosis)
        if not (names or diagnosis.is_ready):
            click.echo("This is of `default`; for another configuration add config=NAME.")
    if not diagnosis.is_ready:
        raise SystemExit(1)
