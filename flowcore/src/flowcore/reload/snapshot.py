"""The state of the files that matter, and what has changed since."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

KINDS = frozenset({".py", ".yaml", ".yml"})
"""Files that matter when they are new, beside those that are loaded."""

Signature = tuple[int, int, int] | None
"""What tells two versions of a file apart; None where there is none."""

_UNKNOWN: Signature = (-1, -1, -1)
_IGNORED_FOLDERS = frozenset({"__pycache__", "node_modules"})
_IGNORED_ENDINGS = ("~", ".swp", ".swx", ".tmp", ".pyc", ".pyo", ".log")


class Snapshot:
    """Files as they were, and the names in their folders.

    Args:
        includes: Further files, and folders with all that is in them.
    """

    def __init__(self, includes: Iterable[Path] = ()) -> None:
        self._includes = [path.absolute() for path in includes]
        self._loaded: frozenset[Path] = frozenset()
        self._files: dict[Path, Signature] = {}
        self._names: dict[Path, frozenset[str]] = {}
        self._whole: set[Path] = set()
        self.renew()

    @property
    def count(self) -> int:
        """How many files there are that matter."""
        return sum(seen is not None for seen in self._files.values())

    @property
    def folders(self) -> set[Path]:
        """The folders in which they are, as far as those exist."""
        return {folder for folder in self._names if folder.is_dir()}

    def replace(self, loaded: Iterable[Path], began: float) -> None:
        """Let other files matter, beside those that are included.

        Args:
            loaded: The files, as a process has loaded them.
            began: When it began, as :func:`time.time`; what was not known and is newer, it may
                have loaded in an older version.
        """
        files, names = self._files, self._names
        self._loaded = frozenset(loaded)
        self.renew()
        for path in self._files:
            self._files[path] = files[path] if path in files else _at(path, began)
        self._names |= {folder: names[folder] for folder in self._names.keys() & names.keys()}

    def add(self, loaded: Iterable[Path], began: float) -> None:
        """Let more files matter."""
        self.replace({*self._loaded, *loaded}, began)

    def changes(self) -> dict[Path, Signature]:
        """Return what differs or is new, in order, and how it is now."""
        changed = {
            path: now for path, seen in self._files.items() if (now := _signature(path)) != seen
        }
        for folder, names in self._names.items():
            new = {folder / name for name in self._list(folder) - names} - self._files.keys()
            changed |= {path: _signature(path) for path in new}
        return dict(sorted(changed.items()))

    def renew(self) -> None:
        """Take all as it is now for what is known."""
        self._whole = set()
        files = set(self._loaded)
        for path in self._includes:
            if not path.is_dir():
                files.add(path)
            for place, below, names in os.walk(path):
                below[:] = [name for name in below if not _is_ignored(name)]
                folder = Path(place)
                self._whole.add(folder)
                files |= {folder / name for name in names if not _is_ignored(name)}
        self._files = {path: _signature(path) for path in files}
        folders = {path.parent for path in files} | self._whole
        self._names = {folder: self._list(folder) for folder in folders}

    def _list(self, folder: Path) -> frozenset[str]:
        try:
            names = os.listdir(folder)  # noqa: PTH208 - the names are what is wanted
        except OSError:
            return frozenset()
        whole = folder in self._whole
        return frozenset(
            name
            for name in names
            if not _is_ignored(name) and (whole or os.path.splitext(name)[1] in KINDS)  # noqa: PTH122
        )


def _signature(path: Path) -> Signature:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _at(path: Path, began: float) -> Signature:
    seen = _signature(path)
    return _UNKNOWN if seen is not None and seen[0] > began * 1e9 else seen


def _is_ignored(name: str) -> bool:
    return (
        name.startswith((".", "#")) or name in _IGNORED_FOLDERS or name.endswith(_IGNORED_ENDINGS)
    )
