"""Importing the modules that a configuration names under ``imports``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

from flowcore.errors import ConfigError, did_you_mean
from flowcore.leftover import instead_of_import


def import_user_module(name: str, origin: str) -> ModuleType:
    """Import a module of the user's own, from the working folder or from what is installed.

    Args:
        name: Name of the module.
        origin: Where the configuration names it.

    Raises:
        ConfigError: If it cannot be imported, or another module of that name hides it.
    """
    # Console scripts do not look for modules in the current folder, `python -m` does.
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        module = _script(name) or importlib.import_module(name)
    # The user's own module may raise anything; the cause goes along.
    except (Exception, SystemExit) as error:
        raise ConfigError(f"cannot import {name!r}: {_cause(error, name)}", origin) from error
    own, found = Path(f"{name}.py"), _file_of(module)
    if own.is_file() and not (found and own.samefile(found)):
        raise ConfigError(
            f"{name!r} is the name of {found or 'a module of Python itself'} too, which hides "
            f"{own.absolute()}; rename that, such as my_{own}, here as well",
            origin,
        )
    return module


def _script(name: str) -> ModuleType | None:
    """Return the script that runs, if it is this module: its ops are registered already."""
    script = sys.modules.get("__main__")
    file = _file_of(script) if script else None
    if file is None or file.stem != name or name in sys.modules:
        return None
    spec = importlib.util.find_spec(name)
    is_same = spec and spec.origin and Path(spec.origin).exists() and file.samefile(spec.origin)
    return script if is_same else None


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file) if file and Path(file).exists() else None


def _cause(error: BaseException, name: str) -> str:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name == name:
        guess = did_you_mean(name, {path.stem for path in Path().glob("*.py")})
        if name.endswith(".py"):
            guess = f"; write it without .py: {name.removesuffix('.py')}"
        return f"{text}{guess}; it is looked for in {Path.cwd()} and among what is installed"
    if isinstance(error, SyntaxError) and error.filename:
        return f"SyntaxError: {error.msg} ({error.filename}:{error.lineno})"
    frames = [
        frame for frame in extract_tb(error.__traceback__) if "importlib" not in frame.filename
    ]
    place = f"{frames[-1].filename}:{frames[-1].lineno}"
    return f"{text} ({place}){instead_of_import(error)}"
