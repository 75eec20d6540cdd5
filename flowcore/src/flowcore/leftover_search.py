"""Finding in the modules and prompts of ops what they still hold of FlowLLM."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
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
    sources: list[tuple[str | None, ast.AST, dict[str, type]]] = []
    for name, its_classes in modules.items():
        try:
            module = sys.modules[name]
            file, tree = inspect.getsourcefile(module), ast.parse(inspect.getsource(module))
        except (KeyError, OSError, TypeError, SyntaxError):
            continue  # made at run time, or without a source
        sources.append((file, tree, its_classes))
    given = {
        its_classes[node.name]: _given(node)
        for _, tree, its_classes in sources
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name in its_classes
    }
    for file, tree, its_classes in sources:
        missing = {name: _missing(cls, given) for name, cls in its_classes.items()}
        for line, what in sorted(_found(tree, missing)):
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
        contexts: The variables that have the context here.
        others: Methods of classes of the module that are no ops.
    """

    missing: frozenset[str] = frozenset()
    is_sync: bool = False
    contexts: frozenset[str] = frozenset({"context"})
    others: frozenset[str] = frozenset()


def _found(tree: ast.AST, missing: Mapping[str, frozenset[str]]) -> Iterator[tuple[int, str]]:
    pending = [(tree, _Place(others=_methods_of_others(tree, missing)))]
    while pending:
        node, place = pending.pop()
        if isinstance(node, ast.ClassDef):
            place = place._replace(missing=missing.get(node.name, frozenset()))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_sync = isinstance(node, ast.FunctionDef)
            contexts = (place.contexts - _made(node)) | _aliases(node)
            place = place._replace(is_sync=is_sync, contexts=contexts)
        elif isinstance(node, ast.Attribute) and (what := _told_of(node, place)):
            yield node.end_lineno or node.lineno, what
        elif isinstance(node, ast.Call) and _last_name(node.func) in _CALLS_OF_MODELS:
            for word in node.keywords:
                if what := told_of_argument(word.arg or ""):
                    yield word.lineno, what
        pending += [(child, place) for child in ast.iter_child_nodes(node)]


def _told_of(node: ast.Attribute, place: _Place) -> str:
    name, holder = node.attr, node.value
    if isinstance(holder, ast.Name):
        has_context = holder.id in place.contexts
    else:
        has_context = _last_name(holder) == "context"
    if has_context and name not in place.others:
        instead = instead_of(name, is_sync=place.is_sync)
        return f"context.{name} is FlowLLM's: {instead}" if instead else ""
    is_own = isinstance(holder, ast.Name) and holder.id == "self"
    return told_of_op(name) if is_own and name in place.missing else ""


def _missing(cls: type, given: Mapping[type, frozenset[str]]) -> frozenset[str]:
    """Return what ops had in FlowLLM, and this class does not have."""
    if hasattr(cls, "__getattr__"):
        return frozenset()  # it may answer to any name
    own = {name for base in cls.__mro__ for name in (*vars(base), *inspect.get_annotations(base))}
    own = own.union(*(given.get(base, ()) for base in cls.__mro__))
    return frozenset(OF_OPS.keys() - own)


def _given(node: ast.ClassDef) -> frozenset[str]:
    """Return the attributes that methods of a class set, and what they may set by its name."""
    return frozenset(
        part.attr if isinstance(part, ast.Attribute) else str(part.value)
        for part in ast.walk(node)
        if (isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store))
        or isinstance(part, ast.Constant)
    )


def _methods_of_others(tree: ast.AST, classes: Container[str]) -> frozenset[str]:
    return frozenset(
        part.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name not in classes
        for part in node.body
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def _made(function: ast.AST) -> frozenset[str]:
    """Return the variables to which a function assigns an object of another class."""
    return frozenset(
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name) and _last_name(node.value.func)[:1].isupper()
    )


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
