"""``flowcore flows``: list the flows of a configuration."""

from __future__ import annotations

import json
from typing import Any

import click

from flowcore.commands.configured import app_of, config_of, settings_argument


@click.command("flows")
@settings_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
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
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        row["inputs"] = ", ".join(row.pop("input_schema")["properties"])
        row["stream"] = "yes" if row["stream"] else "no"
    print_table(rows)
