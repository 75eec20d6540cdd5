"""``flowcore plugins``: list the installed plugins."""

from __future__ import annotations

from typing import Any

import click

from flowcore.commands.json_output import echo_json, json_option


@click.command("plugins")
@json_option
def command(as_json: bool) -> None:
    """List the installed plugins, and why one could not be loaded."""
    from flowcore.logs import only_errors  # noqa: PLC0415
    from flowcore.plugins import PluginHost  # noqa: PLC0415
    from flowcore.terminal import print_table  # noqa: PLC0415

    with only_errors():  # failures are in the listing
        plugins = PluginHost().plugins
    rows: list[dict[str, Any]] = [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "hooks": list(plugin.hooks),
            "error": plugin.error,
        }
        for plugin in plugins
    ]
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        hooks: list[str] = row["hooks"]
        row["hooks"] = ", ".join(hook.removeprefix("flowcore_") for hook in hooks)
    print_table(rows)
