"""The entries for models and stores: whether they can be made, and which keys they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import SecretStr

from flowcore.app import FlowApp
from flowcore.backend import KINDS, BackendSettings, Env
from flowcore.catalog import Catalog
from flowcore.config import FlowConfig
from flowcore.finding import Finding


def look_at_models(config: FlowConfig, catalog: Catalog, app: FlowApp | None) -> Iterator[Finding]:
    """Tell of each entry whether it can be made, and whether it has its keys."""
    for kind in KINDS:
        classes = catalog.backends(kind)
        entries: Mapping[str, Mapping[str, Any]] = getattr(config, kind)
        for name, entry in entries.items():
            where = f"{kind}.{name}"
            yield _made(app, kind, name, entry)
            backend = str(entry.get("backend"))
            if backend in classes:
                yield from _keys(where, classes[backend].Settings, entry, config)


def _made(app: FlowApp | None, kind: str, name: str, entry: Mapping[str, Any]) -> Finding:
    model = entry.get("model_name")
    text = f"{entry.get('backend')}{f', {model}' if model else ''}"
    if app is None or name not in getattr(app.config, kind):  # what is wrong with it is told
        return Finding("models", f"{kind}.{name}", text)
    try:
        getattr(app.backends, kind)(name)
    # A backend of a plugin may raise anything.
    except Exception as error:  # noqa: BLE001
        advice = "see what the message says, and the how-to of this backend"
        return Finding("models", f"{kind}.{name}", f"{text}: {error}", "problem", advice)
    return Finding("models", f"{kind}.{name}", text, "ok")


def _keys(
    where: str, settings: type[BackendSettings], entry: Mapping[str, Any], config: FlowConfig
) -> Iterator[Finding]:
    """Tell whether there are the secrets that the settings know, and never what they are."""
    kind, _, name = where.partition(".")
    for field, about in settings.model_fields.items():
        variable = next((m.name for m in about.metadata if isinstance(m, Env)), "")
        if not _is_secret(about.annotation):
            continue
        if entry.get(field):
            origin = config.origins.find((kind, name, field))
            yield Finding("models", f"{where}.{field}", "present", "ok", origin=origin)
        elif variable and config.environment.get(variable):
            yield Finding("models", f"{where}.{field}", "present", "ok", origin=variable)
        else:
            text = f"missing ({variable} is not set)" if variable else "missing"
            yield Finding("models", f"{where}.{field}", text)


def _is_secret(annotation: object) -> bool:
    members = cast("tuple[object, ...]", getattr(annotation, "__args__", ()))
    return annotation is SecretStr or any(_is_secret(member) for member in members)
