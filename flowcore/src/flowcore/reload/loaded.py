"""Which files a process has loaded that its user may edit."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING

from flowcore.config_source import config_candidates, find_config
from flowcore.errors import ConfigError
from flowcore.reload.snapshot import KINDS
from flowcore.user_op import UserOp

if TYPE_CHECKING:
    from flowcore.app import FlowApp


def loaded_files(names: Iterable[str], app: FlowApp | None = None) -> set[Path]:
    """Return the files of configurations, prompts and modules, as far as they are no packages.

    A file that is looked for belongs to them before it exists.

    Args:
        names: The configurations that were asked for.
        app: What was made of them, as far as it could be made.
    """
    files = {Path(".env").absolute(), *_own_modules()}
    for name in [*names] or ["default"]:
        files |= _config_files(name)
    if app is not None:
        for flow in app.flows.values():
            for _, op in flow.walk():
                if isinstance(op, UserOp) and (path := op.find_prompts()) is not None:
                    files.add(path.absolute())
    return {path for path in files if not _is_installed(path)}


def files_at_fault(names: Iterable[str], error: BaseException) -> set[Path]:
    """Return the files that may be why nothing could be loaded.

    Those are what was loaded, what the error points to, and all of these kinds beside them.
    """
    files = loaded_files(names)
    cause: BaseException | None = error
    while cause is not None:
        places = [frame.filename for frame in extract_tb(cause.__traceback__)]
        if isinstance(cause, SyntaxError) and cause.filename:
            places.append(cause.filename)
        files |= {Path(place).absolute() for place in places if Path(place).suffix in KINDS}
        cause = cause.__cause__ or cause.__context__
    for folder in {path.parent for path in files}:
        if not _is_installed(folder):
            files |= {path for path in folder.glob("*.*") if path.suffix in KINDS}
    return {path for path in files if not _is_installed(path)}


def _config_files(name: str) -> set[Path]:
    try:
        return {find_config(name).absolute()}
    except ConfigError:
        return {path.absolute() for path in config_candidates(name)}


def _own_modules() -> set[Path]:
    files: set[Path] = set()
    for module in tuple(sys.modules.values()):
        # Not getattr: a module may answer for attributes that it does not have.
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and file.endswith(".py"):
            files.add(Path(file).absolute())
    return files


def _is_installed(path: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts) or str(path).startswith(
        _INSTALLED
    )


def _installed() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(folder.rstrip(os.sep) + os.sep for folder in folders)


_INSTALLED = _installed()
