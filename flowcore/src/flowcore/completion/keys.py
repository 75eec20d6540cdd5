"""The keys of the configuration and their values, as the settings classes declare them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from flowcore.annotation import alternatives
from flowcore.backend import KINDS
from flowcore.catalog import Catalog
from flowcore.completion.configs import section
from flowcore.config import FlowConfig
from flowcore.plugins import PluginHost


def settings(start: str, data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what may stand where a setting begins with ``start``.

    That is ``a.b=`` for a key, ``a.`` for a section, and ``a.b=value`` for a value, where they are
    few.

    Args:
        start: The beginning, such as ``"http.p"`` or ``"http.access_log="``.
        data: What the configs say, for the names of entries.
    """
    catalog = PluginHost().catalog
    key, equals, _ = start.partition("=")
    path = key.split(".")
    if equals:
        yield from (f"{key}={value}" for value in _values(path, data, catalog))
        return
    before = "".join(f"{part}." for part in path[:-1])
    for name, is_section in _members(path[:-1], data, catalog).items():
        yield f"{before}{name}{'.' if is_section else '='}"


def _members(path: list[str], data: Mapping[str, Any], catalog: Catalog) -> dict[str, bool]:
    """Return the names below a path, and whether each has members of its own."""
    said = {name: isinstance(value, dict) for name, value in section(data, *path).items()}
    if not path:
        return {
            **{name: _is_section(field.annotation) for name, field in _fields(FlowConfig)},
            **dict.fromkeys(catalog.services, True),
        }
    if path[0] in KINDS and len(path) == 1:
        return said or {"default": True}
    if path[0] in KINDS and len(path) == 2:
        said["backend"] = False
    kind = _kind(path, data, catalog)
    if not isinstance(kind, type) or not issubclass(kind, BaseModel):
        return said
    return {**said, **{name: _is_section(field.annotation) for name, field in _fields(kind)}}


def _values(path: list[str], data: Mapping[str, Any], catalog: Catalog) -> list[str]:
    if path == ["backend"]:
        return sorted(catalog.services)
    if path[0] in KINDS and len(path) == 3 and path[2] == "backend":
        return sorted(catalog.backends(path[0]))
    kinds = alternatives(_kind(path, data, catalog))
    literals = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    booleans = ["true", "false"] if bool in kinds else []
    return [*map(str, literals), *booleans]


def _kind(path: list[str], data: Mapping[str, Any], catalog: Catalog) -> Any:
    """Return the type of what stands at a path; None if it is not declared."""
    kind: Any = FlowConfig
    for depth, part in enumerate(path, 1):
        if depth == 1 and part in catalog.services:
            kind = catalog.services[part].Settings
        elif depth == 2 and path[0] in KINDS:
            backend = catalog.backends(path[0]).get(section(data, *path[:2]).get("backend", ""))
            kind = getattr(backend, "Settings", None)
        else:
            kind = _member(kind, part)
    models = [one for one in alternatives(kind) if isinstance(one, type)]
    return next((one for one in models if issubclass(one, BaseModel)), kind)


def _member(kind: Any, name: str) -> Any:
    for one in alternatives(kind):
        fields = getattr(one, "model_fields", {})
        if name in fields:
            return fields[name].annotation
        if get_origin(one) is dict:
            return get_args(one)[-1]
    return None


def _fields(model: type[BaseModel]) -> list[tuple[str, Any]]:
    return [*model.model_fields.items()]


def _is_section(kind: Any) -> bool:
    return any(
        get_origin(one) is dict or (isinstance(one, type) and issubclass(one, BaseModel))
        for one in alternatives(kind)
    )
