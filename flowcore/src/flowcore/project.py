"""New projects from templates: an app, or a plugin.

The files below ``templates`` are templates, with their paths, of :class:`string.Template`; a file
``a.py.template`` becomes ``a.py``.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from string import Template
from typing import Literal

from flowcore import __version__
from flowcore.errors import ConfigError

Kind = Literal["app", "plugin"]
Part = Literal["op", "llm"]
"""What a plugin may add."""

TEMPLATES = Path(__file__).with_name("templates")
SUFFIX = ".template"
PREFIX = "flowcore-"
MAX_LENGTH = 24
"""Of a name; lines of generated code hold several names."""

_NAME = re.compile(r"[a-z](?:[a-z0-9]|[-._](?=[a-z0-9]))*", re.IGNORECASE | re.ASCII)
_OWN = ("http", "openai", "llamacpp", "chat", "memory", "example")
_FILES_OF_AN_APP = ("docs", "offline", "src", "tests")
_DEVICES = ("aux", "con", "nul", "prn")  # as file names, Windows takes them for devices
_IGNORED = (".git", ".DS_Store")
"""What a folder may hold that counts as empty."""


@dataclass(frozen=True)
class Names:
    """The names in a new project, all made from one.

    Attributes:
        kind: What the project is.
        part: What it has of its own.
        name: The name in lower case, with hyphens; in listings, that of the plugin.
        distribution: What pip calls it.
        module: What Python imports.
        op: The class of its op.
        op_module: The module of its op.
        llm: The class of its LLM.
        variable: The environment variable with the key of its LLM.
        flow: The flow in the configuration.
        config: The configuration, without ``.yaml``.
    """

    kind: Kind
    part: Part
    name: str
    distribution: str
    module: str
    op: str
    op_module: str
    llm: str
    variable: str
    flow: str
    config: str


def names_of(kind: Kind, name: str, part: Part = "op") -> Names:
    """Make all names of a project from the one that the user chose.

    Args:
        kind: What the project is.
        name: Such as ``weather``; of a plugin, ``flowcore-weather`` is the same.
        part: What a plugin adds.

    Raises:
        ConfigError: If the name cannot be that of a distribution, a module and a class, or is
            taken.
    """
    short = re.sub(r"[-_.]+", "-", name).lower()
    if kind == "plugin":
        short = short.removeprefix(PREFIX)
    if not (_NAME.fullmatch(name) and _NAME.fullmatch(short)) or len(short) > MAX_LENGTH:
        raise _refusal(
            name,
            "is no name for a project: begin with a letter, go on with letters, digits and single "
            f"hyphens, {MAX_LENGTH} characters at most; such as 'weather' or 'my-bot'",
        )
    stem = short.replace("-", "_")
    module = stem if kind == "app" else f"flowcore_{stem}"
    _check_that_it_is_free(kind, name, short, module)
    op_module = f"{stem.removesuffix('_op')}_op" if kind == "plugin" else "ask_op"
    return Names(
        kind=kind,
        part=part,
        name=short,
        distribution=short if kind == "app" else f"{PREFIX}{short}",
        module=module,
        op=_class_name(op_module),
        op_module=op_module,
        llm=f"{_class_name(stem)}LLM",
        variable=f"{stem.upper()}_API_KEY",
        flow="ask" if kind == "app" else f"{stem}_demo",
        config=short if kind == "app" else f"{stem}_demo",
    )


def create(names: Names, folder: Path) -> Sequence[Path]:
    """Write the project into a folder, which is made where there is none.

    Returns:
        The files, relative to the folder.

    Raises:
        ConfigError: If the folder holds anything, or cannot be written.
    """
    files = render(names)
    try:
        if folder.exists() and (
            not folder.is_dir() or any(path.name not in _IGNORED for path in folder.iterdir())
        ):
            raise ConfigError(
                f"{folder} exists and is not empty; choose another name, or another folder with "
                "--into"
            )
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}") from error
    return list(files)


def render(names: Names) -> Mapping[Path, str]:
    """Return the text of each file of a project, by its path in the project."""
    folders = ("app",) if names.kind == "app" else ("plugin", f"plugin_{names.part}")
    year = datetime.now(tz=UTC).year
    values: dict[str, object] = {**asdict(names), "version": __version__, "year": year}
    return {
        Path(Template(path.relative_to(root).as_posix()).substitute(values)).with_suffix(""): (
            Template(path.read_text(encoding="utf-8")).substitute(values)
        )
        for root in map(TEMPLATES.joinpath, folders)
        for path in sorted(root.rglob(f"*{SUFFIX}"))
    }


def missing_distributions(names: Names) -> Sequence[str]:
    """Return what the project needs of flowcore and is not installed here."""
    needed = ("flowcore-chat", "flowcore-http", "flowcore-openai") if names.kind == "app" else ()
    installed = {
        (distribution.name or "").replace("_", "-") for distribution in metadata.distributions()
    }
    return [name for name in needed if name not in installed]


def _class_name(snake_case: str) -> str:
    return "".join(word.capitalize() for word in snake_case.split("_"))


def _check_that_it_is_free(kind: Kind, name: str, short: str, module: str) -> None:
    if keyword.iskeyword(module) or module in {*sys.stdlib_module_names, "test"}:
        raise _refusal(name, f"is taken: Python itself has {module!r}")
    if short in _DEVICES:
        raise _refusal(name, "is no name for a file on Windows")
    if kind == "app":
        if module in _FILES_OF_AN_APP:
            raise _refusal(name, "is what something else in a project is called")
        if module == "flowcore" or module.startswith("flowcore_"):
            raise _refusal(name, "looks like a plugin; did you mean `flowcore new plugin`?")
    elif short.startswith("test"):
        raise _refusal(name, "makes a class that pytest takes for a test")
    elif short in _OWN:
        raise _refusal(name, f"is taken: {PREFIX}{short} is a plugin that comes with flowcore")
    # An app called `rich` would hide the package of that name from flowcore itself.
    if owners := metadata.packages_distributions().get(module):
        raise _refusal(
            name,
            f"is taken: {' and '.join(sorted(set(owners)))}, which is installed here, has the "
            f"package {module!r}",
        )


def _refusal(name: str, why: str) -> ConfigError:
    return ConfigError(f"{name!r} {why}", "argument NAME")
