"""``flowcore explain``: what an error means and what to do about it."""

from __future__ import annotations

import click

from flowcore.commands.completing import offering
from flowcore.commands.json_output import echo_json, json_option


@click.command("explain")
@click.argument("code", required=False, shell_complete=offering("codes"))
@json_option
def command(code: str | None, as_json: bool) -> None:
    """Explain the error CODE, or list all codes.

    These are the codes of flowcore and of the plugins that are installed.
    """
    from flowcore.explain import explain, explanations  # noqa: PLC0415

    pages = explanations() if code is None else explain(code)
    if as_json:
        rows = [{"code": page.code, "package": page.package, "text": page.text} for page in pages]
        echo_json(rows)
        return
    from flowcore.terminal import print_markdown, print_table  # noqa: PLC0415

    if code is None:
        print_table([{"code": p.code, "package": p.package, "meaning": p.summary} for p in pages])
        return
    for page in pages:
        print_markdown(page.text)
