"""The public names of Python, from signatures and docstrings."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from typing import Any

from docs.generator import docstring
from docs.generator.docstring import Docstring
from docs.generator.markers import table
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

PUBLIC = ("flowcore", "flowcore_http", "flowcore.testing", "flowcore.sse")
# What the core and its services call, and nobody else.
INTERNAL = {
    *("Run.accept", "Run.blame", "Run.end", "Run.listen", "Run.send", "Run.silence", "Run.take"),
}


def api(module: str) -> str:
    """Return a chapter for each public class and function of a module."""
    found = {name: getattr(import_module(module), name) for name in names(module)}
    shown = {name: value for name, value in found.items() if _has_chapter(value)}
    return "\n\n".join(_chapter(name, value) for name, value in shown.items())


def names(module: str) -> list[str]:
    """Return the public names of a module."""
    home = import_module(module)
    own = [name for name, value in vars(home).items() if _home_of(value) == module]
    return sorted(getattr(home, "__all__", own))


def _home_of(value: Any) -> str:
    return getattr(value, "__module__", "")


def _has_chapter(value: Any) -> bool:
    # Markers, catalogs and unions are told about where they are used.
    return isinstance(value, type) or inspect.isfunction(value)


def _chapter(name: str, value: Any) -> str:
    said = docstring.read(value)
    parts = [f"## {name}"]
    if not isinstance(value, type):
        parts += [f"`{_signature(name, value)}`", *_told(said, _parameters(value))]
    elif issubclass(value, Enum):
        members = ", ".join(f"`{each.name}`" for each in value)
        parts += [said.text, f"Members: {members}."]
    elif issubclass(value, BaseModel):
        parts += [said.text, _fields(value)]
    else:
        arguments = _parameters(value) if _has_init(value) else []
        parts += [f"`{_signature(name, value)}`"] if arguments else []
        parts += [*_told(said, arguments), _attributes(value)]
    if isinstance(value, type):
        parts += _members(value)
    return "\n\n".join(part for part in parts if part)


def _told(said: Docstring, parameters: list[inspect.Parameter]) -> Iterator[str]:
    yield said.text
    meanings = said.items.get("Args", {})
    rows = [
        (f"`{_starred(each)}`", _code(_type(each)), _default(each), meanings[_starred(each)])
        for each in parameters
        if _starred(each) in meanings
    ]
    if rows:
        yield table(("argument", "type", "default", "meaning"), *rows)
    for heading in ("Returns", "Yields", "Example"):
        if heading in said.sections:
            yield f"{heading}: {said.sections[heading]}"
    if raised := said.items.get("Raises"):
        yield "\n".join(["Raises:", "", *(f"- `{error}`: {why}" for error, why in raised.items())])


def _members(cls: type) -> Iterator[str]:
    """Yield the methods and properties of a class, with those of bases that are not public."""
    shown: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("flowcore") and (base is cls or not _is_public(base)):
            shown.update(vars(base))
    for name, value in shown.items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        is_property = isinstance(value, property) or hasattr(value, "func")
        if name.startswith(("_", "model_")) or not (inspect.isfunction(function) or is_property):
            continue
        said = docstring.read(function)
        if not said.text or f"{cls.__name__}.{name}" in INTERNAL:
            continue
        call = name if is_property else _call(name, function)
        details = [
            *(f"`{key}`: {text}" for key, text in said.items.get("Args", {}).items()),
            *(
                f"{key}: {said.sections[key]}"
                for key in ("Returns", "Yields")
                if key in said.sections
            ),
            *(f"raises `{key}`: {text}" for key, text in said.items.get("Raises", {}).items()),
        ]
        text = said.text.replace("\n", "\n  ")
        lines = [f"- `{call}`", "", f"  {text}"]
        yield "\n".join([*lines, *([""] if details else []), *(f"  - {each}" for each in details)])


def _fields(model: type[BaseModel]) -> str:
    meanings = docstring.attributes(model)
    types = {
        name: text
        for base in reversed(model.__mro__)
        for name, text in inspect.get_annotations(base).items()
    }
    rows = [
        (f"`{name}`", _code(types[name]), _field_default(field), meanings[name])
        for name, field in model.model_fields.items()
        if name in meanings
    ]
    return table(("field", "type", "default", "meaning"), *rows) if rows else ""


def _attributes(cls: type) -> str:
    meanings = docstring.read(cls).items.get("Attributes", {})
    return (
        table(("attribute", "meaning"), *((f"`{n}`", t) for n, t in meanings.items()))
        if meanings
        else ""
    )


def _field_default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if field.default_factory and isinstance(value, str):
        return "made anew"
    return _code(json.dumps(to_jsonable_python(value)))


def _is_public(cls: type) -> bool:
    return any(getattr(import_module(module), cls.__name__, None) is cls for module in PUBLIC)


def _has_init(cls: type) -> bool:
    return inspect.isfunction(vars(cls).get("__init__")) and "Args" in docstring.read(cls).items


def _parameters(of: Callable[..., Any]) -> list[inspect.Parameter]:
    return [*inspect.signature(of).parameters.values()]


def _signature(name: str, of: Callable[..., Any]) -> str:
    signature = inspect.signature(of)
    shown = [each for each in signature.parameters.values() if each.name not in {"self", "cls"}]
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in shown]
    text = str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    result = signature.return_annotation
    shows = not isinstance(of, type) and result not in {"None", inspect.Signature.empty}
    text = re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "…", text)
    return f"{name}{text}" + (f" -> {result}" if shows else "")


def _call(name: str, function: Callable[..., Any]) -> str:
    within = inspect.unwrap(function)
    if inspect.isasyncgenfunction(within) and within is not function:
        return f"async with {_signature(name, function).partition(' -> ')[0]}"
    if inspect.isgeneratorfunction(within) and within is not function:
        return f"with {_signature(name, function).partition(' -> ')[0]}"
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    return f"{prefix}{_signature(name, function)}"


def _starred(each: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return f"{stars.get(each.kind, '')}{each.name}"


def _type(each: inspect.Parameter) -> str:
    return "" if each.annotation is inspect.Parameter.empty else str(each.annotation)


def _default(each: inspect.Parameter) -> str:
    return "" if each.default is inspect.Parameter.empty else _code(repr(each.default))


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
