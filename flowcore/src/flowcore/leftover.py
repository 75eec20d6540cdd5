"""What ops and configurations still hold of FlowLLM, and what stands in its place."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

_ADD_TEXT = "await self.context.add_stream_text(text, chunk_type)"
_ADD_TEXT_SYNC = "self.context.add_stream_text_sync(text, chunk_type)"
_SIDE_BY_SIDE = "write several ops side by side in the flow, `AOp() | BOp()`"
_TASK_GROUP = "start the tasks in `async with anyio.create_task_group()`"
_IN_ASYNC_OPS = f"{_TASK_GROUP}, or {_SIDE_BY_SIDE}"
_IN_SYNC_OPS = f"{_SIDE_BY_SIDE}; or, in a BaseAsyncOp, {_TASK_GROUP}"
_NO_CACHE = "delete it, and keep in an op of yours what is dear to compute"
_NO_CHOICE = "delete it, and name the files with the flows to serve: `config=base,chat`"
_NO_MCP = "delete it; a plugin can add a service `mcp`, and an op can use any MCP client"
_NO_NEED = "delete it, for there is nothing to turn off"

OF_CONTEXT: Mapping[str, str] = {
    "add_stream_string_and_type": f"write `{_ADD_TEXT}`, in which `chunk=` is called `text=`",
    "add_stream_done": "delete the call, for a stream ends by itself",
    "add_response_error": (
        "raise the error, which ends the run as failed; or set "
        "`self.context.response.success = False` and `self.context.response.answer`"
    ),
}
"""Methods of a context."""
OF_OPS: Mapping[str, str] = {
    "op_params": "declare the parameter on the class, `x: int = 1`, and read `self.x`",
    "submit_async_task": _IN_ASYNC_OPS,
    "join_async_task": _IN_ASYNC_OPS,
    "submit_task": _IN_SYNC_OPS,
    "join_task": _IN_SYNC_OPS,
}
"""Attributes of an op."""
OF_CONFIG: Mapping[tuple[str | int, ...], str] = {
    ("http", "timeout_keep_alive"): "write `http.keep_alive_timeout`",
    ("http", "limit_concurrency"): "write `http.max_connections`",
    ("enable_logo",): _NO_NEED,
    ("init_logger",): _NO_NEED,
    ("enabled_flows",): _NO_CHOICE,
    ("disabled_flows",): _NO_CHOICE,
    ("metadata",): "write parameters of ops, or `${NAME}` for variables of the environment",
    ("ray_max_workers",): "delete it; `http.workers` serves in several processes",
    ("mcp",): _NO_MCP,
    ("external_mcp",): _NO_MCP,
    ("cmd",): "delete it; the command `flowcore call FLOW query=…` runs one flow",
    ("flow", "*", "enable_cache"): _NO_CACHE,
    ("flow", "*", "cache_path"): _NO_CACHE,
    ("flow", "*", "cache_expire_hours"): _NO_CACHE,
    ("llm", "*", "token_count"): "delete it; the `usage` chunk of a model tells its tokens",
}
"""Keys of a configuration; ``*`` stands for the name of an entry."""


def instead_of(name: str, *, is_sync: bool) -> str:
    """Return what to do about a method of FlowLLM's context, or an empty string for other names.

    Args:
        name: Name of the method.
        is_sync: Whether a sync op calls it.
    """
    instead = OF_CONTEXT.get(name, "")
    return instead.replace(_ADD_TEXT, _ADD_TEXT_SYNC) if is_sync else instead


def instead_of_key(path: tuple[str | int, ...]) -> str:
    """Return what to do about a key of FlowLLM's configuration, or an empty string for others."""
    return OF_CONFIG.get(path) or OF_CONFIG.get((*path[:1], "*", *path[2:]), "")


def note_on(error: Exception, op: object) -> str:
    """Return what to do about an attribute of FlowLLM's ops that an op misses, if it is that."""
    if isinstance(error, AttributeError) and error.obj is op:
        return _told_of_op(error.name or "")
    return ""


def leftovers(classes: Iterable[type]) -> Iterator[str]:
    """Find what is FlowLLM's in the modules of classes and of their bases.

    Yields:
        For each place its file and line, and what to do about it.
    """
    modules: dict[str, dict[str, type]] = {}
    for cls in dict.fromkeys(base for each in classes for base in each.__mro__):
        modules.setdefault(cls.__module__, {})[cls.__name__] = cls
    for name, its_classes in modules.items():
        try:
            module = sys.modules[name]
            file, tree = inspect.getsourcefile(module), ast.parse(inspect.getsource(module))
        except (KeyError, OSError, TypeError, SyntaxError):
            continue  # made at run time, or without a source
        for line, what in sorted(_found(tree, its_classes)):
            yield f"{file}:{line}: {what}"


class _Place(NamedTuple):
    """What is known of where a node of a module stands.

    Attributes:
        missing: What ops had in FlowLLM, and the class does not have that the node is in.
        is_sync: Whether the node is in a function that is not ``async``.
        contexts: What has the context here: names of variables and of attributes.
    """

    missing: frozenset[str] = frozenset()
    is_sync: bool = False
    contexts: frozenset[str] = frozenset({"context"})


def _found(tree: ast.AST, classes: Mapping[str, type]) -> Iterator[tuple[int, str]]:
    pending = [(tree, _Place())]
    while pending:
        node, place = pending.pop()
        if isinstance(node, ast.ClassDef):
            place = place._replace(missing=_missing(node, classes.get(node.name)))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_sync = isinstance(node, ast.FunctionDef)
            place = place._replace(is_sync=is_sync, contexts=place.contexts | _aliases(node))
        elif isinstance(node, ast.Attribute) and (what := _told_of(node, place)):
            yield node.end_lineno or node.lineno, what
        pending += [(child, place) for child in ast.iter_child_nodes(node)]


def _told_of(node: ast.Attribute, place: _Place) -> str:
    name, holder = node.attr, node.value
    if _last_name(holder) in place.contexts:
        instead = instead_of(name, is_sync=place.is_sync)
        return f"context.{name} is FlowLLM's: {instead}" if instead else ""
    is_own = isinstance(holder, ast.Name) and holder.id == "self"
    return _told_of_op(name) if is_own and name in place.missing else ""


def _told_of_op(name: str) -> str:
    return f"self.{name} is FlowLLM's: {OF_OPS[name]}" if name in OF_OPS else ""


def _missing(node: ast.ClassDef, cls: type | None) -> frozenset[str]:
    if cls is None:
        return frozenset()
    own = {name for base in cls.__mro__ for name in (*vars(base), *inspect.get_annotations(base))}
    attributes = (part for part in ast.walk(node) if isinstance(part, ast.Attribute))
    own |= {each.attr for each in attributes if isinstance(each.ctx, ast.Store)}
    return frozenset(OF_OPS.keys() - own)


def _aliases(function: ast.AST) -> frozenset[str]:
    """Return the variables to which a function assigns a context: ``ctx = self.context``."""
    return frozenset(
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and _last_name(node.value) == "context"
        for target in node.targets
        if isinstance(target, ast.Name)
    )


def _last_name(node: ast.AST) -> str:
    return getattr(node, "attr", "") or getattr(node, "id", "")
