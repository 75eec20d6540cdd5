"""``flowcore ops``: list the ops that flows may name, with their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flowcore.commands.configured import config_of, settings_argument
from flowcore.commands.json_output import echo_json, json_option

if TYPE_CHECKING:
    from flowcore.op_listing import OpListing, Parameter


@click.command("ops")
@settings_argument
@json_option
def command(settings: tuple[str, ...], as_json: bool) -> None:
    """List the ops that flows may name, with their parameters.

    With config=NAME, those of the modules that it imports as well. The parameters that every op
    has are not repeated.
    """
    from flowcore.op_listing import list_ops  # noqa: PLC0415
    from flowcore.terminal import printable  # noqa: PLC0415

    found = list_ops(config_of(settings, optional=True))
    if as_json:
        echo_json([each.as_json() for each in found])
        return
    if not found:
        click.echo("none: install a plugin that brings ops, or name a config that imports yours")
    for number, each in enumerate(found):
        click.echo(("\n" if number else "") + printable(_text(each)))


def _text(listing: OpListing) -> str:
    lines = [f"{listing.name}  from {listing.origin}"]
    lines += [f"  {text}" for text in (listing.description, listing.error) if text]
    names = [_signature(parameter) for parameter in listing.parameters]
    width = max(map(len, names), default=0)
    for name, parameter in zip(names, listing.parameters, strict=True):
        notes = [parameter.description, "required" if parameter.required else ""]
        if parameter.type and not parameter.checked and parameter.type not in {"Any", "object"}:
            notes.append("not checked")
        said = "; ".join(note for note in notes if note)
        lines.append(f"    {name:{width}}  {said}".rstrip())
    return "\n".join(lines)


def _signature(parameter: Parameter) -> str:
    kind = f": {parameter.type}" if parameter.type else ""
    return f"{parameter.name}{kind}" + ("" if parameter.required else f" = {parameter.default!r}")
