"""Calls of FlowLLM that ops still hold, and what stands in their place."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator


def instead_of(name: str, *, is_sync: bool) -> str:
    """Return what to do about a method of FlowLLM's context, or an empty string for other names.

    Args:
        name: Name of the method.
        is_sync: Whether a sync op calls it.
    """
    if name == "add_stream_string_and_type":
        call = (
            "self.context.add_stream_text_sync(text, chunk_type)"
            if is_sync
            else "await self.context.add_stream_text(text, chunk_type)"
        )
        return f"write `{call}`, in which `chunk=` is called `text=`"
    if name == "add_stream_done":
        return "delete the call, for a stream ends by itself"
    return ""


def leftovers(classes: Iterable[type]) -> Iterator[str]:
    """Find calls of FlowLLM in the modules of classes and of their bases.

    Yields:
        For each call its file and line, and what to do about it.
    """
    for name in dict.fromkeys(base.__module__ for cls in classes for base in cls.__mro__):
        try:
            module = sys.modules[name]
            file, tree = inspect.getsourcefile(module), ast.parse(inspect.getsource(module))
        except (KeyError, OSError, TypeError, SyntaxError):
            continue  # made at run time, or without a source
        for line, method, is_sync in sorted(_calls(tree)):
            what = f"context.{method} is FlowLLM's: {instead_of(method, is_sync=is_sync)}"
            yield f"{file}:{line}: {what}"


def _calls(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    pending = [(tree, False)]
    while pending:
        node, is_sync = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_sync = isinstance(node, ast.FunctionDef)
        if (
            isinstance(node, ast.Attribute)
            and instead_of(node.attr, is_sync=is_sync)
            and "context" in {getattr(node.value, "attr", ""), getattr(node.value, "id", "")}
        ):
            yield node.end_lineno or node.lineno, node.attr, is_sync
        pending += [(child, is_sync) for child in ast.iter_child_nodes(node)]
