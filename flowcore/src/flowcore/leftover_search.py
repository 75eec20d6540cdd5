"""Finding in the modules and prompts of ops what they still hold of FlowLLM."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from flowcore.leftover import OF_OPS, instead_of, told_of_argument, told_of_op

# Before a quotation mark or the end of a line: in templates of other kinds a name follows.
_DOUBLED = re.compile(r'{{\s*("|$)')
_CALLS_OF_MODELS = frozenset({"achat", "chat", "astream_chat"})


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


def doubled_braces(files: Iterable[Path]) -> Iterator[str]:
    """Find braces of JSON in prompt files that are doubled, as FlowLLM's ``prompt_format`` wants.

    Yields:
        For each file its first such line, and what to do about it.
    """
    for file in files:
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if _DOUBLED.search(line):
                yield (
                    f"{file}:{number}: a brace is doubled, as FlowLLM's prompts need it; "
                    "write it once, for here braces stay as they are"
                )
                break


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
        elif isinstance(node, ast.Call) and _last_name(node.func) in _CALLS_OF_MODELS:
            for word in node.keywords:
                if what := told_of_argument(word.arg or ""):
                    yield word.lineno, what
        pending += [(child, place) for child in ast.iter_child_nodes(node)]


def _told_of(node: ast.Attribute, place: _Place) -> str:
    name, holder = node.attr, node.value
    if _last_name(holder) in place.contexts:
        instead = instead_of(name, is_sync=place.is_sync)
        return f"context.{name} is FlowLLM's: {instead}" if instead else ""
    is_own = isinstance(holder, ast.Name) and holder.id == "self"
    return told_of_op(name) if is_own and name in place.missing else ""


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
