"""The configurations that a command line names, as far as they can be read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from flowcore.config_source import (
    SUFFIXES,
    find_config,
    override_layer,
    packaged_configs,
    yaml_layer,
)
from flowcore.errors import ConfigError

_MOST_FILES = 50
"""How many files of a folder are looked into."""


def config_names() -> list[str]:
    """Return the names of the configs in the current folder, then those of packages."""
    here = sorted({path.stem for path in _files(Path())})
    return [*here, *(name for name in sorted(packaged_configs()) if name not in here)]


def config_paths(start: str) -> Iterator[str]:
    """Yield the folders and configs that a path may go on with; folders end with a slash."""
    folder = Path(start[: start.rfind("/") + 1])
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            text = start[: start.rfind("/") + 1] + path.name
            if path.is_dir() and not path.name.startswith("."):
                yield f"{text}/"
            elif path.suffix in SUFFIXES:
                yield text


def read_configs(names: Sequence[str], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return what configs say together; what cannot be read says nothing.

    Args:
        names: Names or paths; without any, the packaged config ``default`` and all files of the
            current folder.
        overrides: ``a.b=value``; they win.
    """
    files: list[Path] = []
    for name in names or ["default"]:
        with suppress(ConfigError):
            files.append(find_config(name))
    if not names:
        files += _files(Path())[:_MOST_FILES]
    data: dict[str, Any] = {}
    for file in files:
        with suppress(ConfigError):
            _merge(data, yaml_layer(file, _Anything(os.environ)).data)
    with suppress(ConfigError):
        _merge(data, override_layer(overrides).data)
    return data


def section(data: object, *path: str) -> dict[str, Any]:
    """Return the mapping that stands at a path; an empty one if there is none."""
    for part in path:
        data = cast("Mapping[str, Any]", data).get(part) if isinstance(data, Mapping) else None
    return dict(cast("Mapping[str, Any]", data)) if isinstance(data, Mapping) else {}


class _Anything(dict[str, str]):
    """An environment in which every variable is set."""

    def __contains__(self, name: object) -> bool:
        return True


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in SUFFIXES and not path.stem.endswith("_prompt") and path.is_file()
    )


def _merge(data: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        known = data.get(key)
        if isinstance(known, dict) and isinstance(value, Mapping):
            _merge(cast("dict[str, Any]", known), cast("Mapping[str, Any]", value))
        else:
            data[key] = value
