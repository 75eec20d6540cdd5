"""The hooks, from their specifications."""

from __future__ import annotations

import inspect

from docs.generator import docstring
from docs.generator.markers import table

from flowcore import hookspecs


def hooks(*names: str) -> str:
    """Return the table of these hooks."""
    rows: list[tuple[str, ...]] = []
    for name in names:
        hook = getattr(hookspecs, name)
        signature = inspect.signature(hook)
        arguments = [f"`{each.name}: {each.annotation}`" for each in signature.parameters.values()]
        result = "" if signature.return_annotation == "None" else signature.return_annotation
        returned = f", returns `{result}`" if result else ""
        called = f"`{name}({', '.join(signature.parameters)})`"
        text = docstring.read(hook).text.replace("\n\n", " ")
        rows.append((called, ", ".join(arguments) + returned, text))
    return table(("hook", "arguments", "what it is for"), *rows)
