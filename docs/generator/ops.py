"""The ops that plugins bring, and the parameters that every op has."""

from __future__ import annotations

import inspect
import json
from typing import Any

from docs.generator import docstring
from docs.generator.markers import table

from flowcore import Op, UserOp
from flowcore.op_listing import describe_parameters
from flowcore.plugins import PluginHost

HEAD = ("parameter", "type", "default", "meaning")


def ops(distribution: str) -> str:
    """Return a chapter for each op that a distribution registers."""
    entries = PluginHost().catalog.ops.entries()
    chapters = [
        _chapter(name, entry.value)
        for name, entry in sorted(entries.items())
        if f"({distribution} " in entry.origin
    ]
    if not chapters:
        raise LookupError(f"{distribution} registers no op, or is not installed")
    return "\n\n".join(chapters)


def common_parameters() -> str:
    """Return the table of the parameters that every op has."""
    meanings = docstring.read(UserOp).items["Args"]
    rows = [
        (f"`{each.name}`", f"`{each.annotation}`", _default(each.default), meanings[each.name])
        for each in inspect.signature(UserOp).parameters.values()
        if each.name in meanings and each.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    return table(HEAD, *rows)


def _chapter(name: str, cls: type[Op]) -> str:
    said = docstring.read(cls)
    meanings = {**docstring.attributes(cls), **said.items.get("Args", {})}
    rows = [
        (
            f"`{each.name}`",
            f"`{each.type}`",
            "needed" if each.required else _default(each.default),
            each.description or meanings.get(each.name, ""),
        )
        for each in describe_parameters(cls)
    ]
    raised = [f"`{error}`: {when}" for error, when in said.items.get("Raises", {}).items()]
    parts = [
        f"### {name}",
        said.text,
        table(HEAD, *rows) if rows else "It has no parameters of its own.",
        f"It fails with {'; '.join(raised)}" if raised else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _default(value: Any) -> str:
    return f"`{json.dumps(value)}`" if value != "" else "empty"
