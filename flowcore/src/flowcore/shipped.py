"""The folders with files for flowcore that its own package and those of plugins ship."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path


def shipped_folders(name: str) -> Iterator[tuple[str, Path]]:
    """Yield the packages that have a folder of this name, each with that folder; flowcore first.

    The packages of a plugin are those that lead to the module of its entry point. None is
    imported, so that a broken plugin counts as any other.
    """
    modules = {entry_point.module for entry_point in metadata.entry_points(group="flowcore")}
    told: set[Path] = set()
    for module in ("flowcore", *sorted(modules)):
        top, *below = module.split(".")
        for place in _places(top):
            for depth in range(len(below) + 1):
                inner = below[:depth]
                folder = Path(place, *inner, name)
                if folder not in told and folder.is_dir():
                    told.add(folder)
                    yield ".".join((top, *inner)), folder


def _places(package: str) -> list[str]:
    try:
        # That of a name without a dot is found without an import.
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    return list(spec.submodule_search_locations or ()) if spec else []
