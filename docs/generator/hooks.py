"""The hooks, from their specifications."""

from __future__ import annotations

import inspect

from docs.generator import docstring

from flowcore import hookspecs


def hooks(*names: str) -> str:
    """Return a list of these hooks."""
    return "\n\n".join(_item(name) for name in names)


def _item(name: str) -> str:
    hook = getattr(hookspecs, name)
    signature = inspect.signature(hook)
    types = [f"`{each.name}` is a `{each.annotation}`" for each in signature.parameters.values()]
    if signature.return_annotation != "None":
        types.append(f"the result is a `{signature.return_annotation}`")
    text = docstring.read(hook).text.replace("\n\n", "\n\n  ")
    call = f"- `{name}({', '.join(signature.parameters)})`"
    return "\n\n".join([call, f"  {text}", f"  {', '.join(types)}."])
