"""The keys of the configuration, from the settings classes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from docs.generator import docstring
from docs.generator.markers import table
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from flowcore import Env, Grace

# Where a key has a page or a chapter of its own.
MORE = {
    ("FlowSettings", "flow_content"): "../how-to/compose-flows.md",
    ("FlowSettings", "on_disconnect"): "http.md#runs",
    ("ReplaySettings", "bytes_per_run"): "http.md#runs",
    ("HttpSettings", "max_connections"): "http.md#connections",
    ("HttpSettings", "metrics"): "../how-to/observe.md#metrics",
    ("HttpSettings", "playground"): "../how-to/playground.md#where-it-is",
    ("HttpSettings", "stall_warning"): "../how-to/observe.md#code-that-blocks",
    ("HttpSettings", "server"): "../how-to/choose-the-server.md",
    ("HttpSettings", "workers"): "../how-to/several-processes.md",
    ("AccessSettings", "api_keys"): "../how-to/keys-and-limits.md",
    ("EngineParams", "n_threads"): "../how-to/local-model.md#on-a-machine-that-does-other-work",
}
NAMES: dict[Any, str] = {
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "number",
    Path: "path",
    Any: "any",
}
Row = tuple[str, str, str, str]


def keys(path: str, *others: str) -> str:
    """Return the table of the keys of a settings class, ``module:Class``.

    Where it has a section as a class of its own, ``key=module:Class`` among ``others``, those keys
    are added; the keys that a class ``-module:Class`` has in the same form are left out.
    """
    rows = dict.fromkeys(_rows(_load(path)))
    for other in others:
        if other.startswith("-"):
            for row in _rows(_load(other.removeprefix("-"))):
                rows.pop(row, None)
        else:
            key, _, nested = other.partition("=")
            rows.update(dict.fromkeys(_rows(_load(nested), f"{key}.")))
    return table(("key", "type", "default", "meaning"), *rows)


def _load(path: str) -> type[BaseModel]:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _rows(model: type[BaseModel], prefix: str = "") -> Iterator[Row]:
    meanings = docstring.attributes(model)
    for name, field in model.model_fields.items():
        key, inner = f"{prefix}{name}", field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and _has_all(field, inner):
            yield from _rows(inner, f"{key}.")
            continue
        meaning = re.sub(r"\bNone\b", "`null`", meanings[name].removesuffix("."))
        pages = (MORE.get((base.__name__, name)) for base in model.__mro__)
        page = next(filter(None, pages), "")
        more = f" ([more]({page}))" if page else ""
        yield (f"`{key}`", _type(field), _default(field), f"{meaning}{more}")


def _has_all(field: FieldInfo, inner: type[BaseModel]) -> bool:
    # The deadlines of a flow are only those that differ; their keys are told about elsewhere.
    return inner.__name__ != "FlowDeadlines" and field.default_factory is inner


def _default(field: FieldInfo) -> str:
    variables = [mark.name for mark in field.metadata if isinstance(mark, Env)]
    if variables:
        return f"`{variables[0]}`" + (f", else `{field.default}`" if field.default else "")
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "needed"
    if value is None:
        return "`null`" if _can_be_null(field.annotation) else "none"
    if value == "":
        return "empty"
    plain = {} if isinstance(value, BaseModel) else to_jsonable_python(value)
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    return f"`{plain if isinstance(plain, str) else json.dumps(plain)}`"


def _type(field: FieldInfo) -> str:
    return _name(field.annotation, field.metadata)


def _name(kind: Any, marks: list[Any]) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        within = [m for mark in arguments[1:] for m in getattr(mark, "metadata", [mark])]
        return _name(arguments[0], [*marks, *within])
    if origin is Literal:
        return _or([f"`{value}`" for value in arguments])
    if origin in {Union, UnionType}:
        names = [_name(part, marks) for part in arguments if part is not NoneType]
        return _or([*names, *(["`null`"] if _can_be_null(kind) else [])])
    if origin is list:
        return "list of texts" if arguments == (str,) else "list"
    if kind is SecretStr:
        return "text, kept secret"
    if kind is Grace:
        return "`{grace: SECONDS}`"
    if origin is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return "mapping"
    return NAMES[kind] + _bounds(kind, marks)


def _or(names: list[str]) -> str:
    *first, last = names
    if not first:
        return last
    commas = len(first) > 1 or "," in first[0]
    return f"{', '.join(first)}{',' if commas else ''} or {last}"


def _can_be_null(kind: Any) -> bool:
    # A number or a boolean can be set to null; who wants no file or no key leaves it out.
    parts = [get_args(p)[0] if get_origin(p) is Annotated else p for p in get_args(kind)]
    return NoneType in parts and bool({int, float, bool} & {*parts})


def _bounds(kind: type, marks: list[Any]) -> str:
    low = high = ""
    above = False
    for mark in marks:
        match mark:
            case Ge(ge=bound):
                low = f"{bound:g}"
            case Gt(gt=bound) if kind is int:
                low = f"{bound + 1:g}"  # pyright: ignore[reportOperatorIssue]
            case Gt(gt=bound):
                low, above = f"{bound:g}", True
            case Le(le=bound):
                high = f"{int(bound)}"  # pyright: ignore[reportArgumentType]
            case _:
                pass
    if above:
        return f" above {low}" + (f", at most {high}" if high else "")
    if low and high:
        return f", {low} to {high}"
    return f", from {low}" if low else ""
