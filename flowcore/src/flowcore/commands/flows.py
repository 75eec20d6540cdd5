"""``flowcore flows``: list the flows of a configuration."""

from __future__ import annotations

from typing import Any

import click

from flowcore.commands.configured import app_of, config_of, settings_argument
from flowcore.commands.json_output import echo_json, json_option


@click.command("flows")
@settings_argument
@json_option
def command(settings: tuple[str, ...], as_json: bool) -> None:
    """List the flows of the configuration."""
    from flowcore.terminal import print_table  # noqa: PLC0415

    rows: list[dict[str, Any]] = [
        {
            "name": flow.name,
            "stream": flow.stream,
            "description": flow.description,
            "input_schema": flow.input_schema,
        }
        for flow in app_of(config_of(settings)).flows.values()
    ]
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        row["inputs"] = ", ".join(row.pop("input_schema")["properties"])
        row["stream"] = "yes" if row["stream"] else "no"
    print_table(rows)
