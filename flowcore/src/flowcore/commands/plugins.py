"""``flowcore plugins``: list the installed plugins."""

from __future__ import annotations

import json
import logging
from typing import Any

import click


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the installed plugins, and why one could not be loaded."""
    from flowcore.plugins import PluginHost  # noqa: PLC0415
    from flowcore.terminal import print_table  # noqa: PLC0415

    logging.getLogger("flowcore").setLevel(logging.ERROR)  # failures are in the listing
    rows: list[dict[str, Any]] = [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "hooks": list(plugin.hooks),
            "error": plugin.error,
        }
        for plugin in PluginHost().plugins
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        hooks: list[str] = row["hooks"]
        row["hooks"] = ", ".join(hook.removeprefix("flowcore_") for hook in hooks)
    print_table(rows)
