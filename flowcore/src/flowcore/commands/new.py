"""``flowcore new``: a folder to start from, whose tests pass at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from flowcore.project import Kind, Names, Part

_into = click.option(
    "--into",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder to write to, new or empty; by default one of the project's name, here.",
)


@click.group("new")
def command() -> None:
    """Make a project to start from, with tests that pass."""


@command.command("app")
@click.argument("name")
@_into
def app(name: str, into: Path | None) -> None:
    """Make an app: an op, a prompt, a configuration, tests.

    NAME is a word, or several with hyphens, such as weather or my-bot.
    """
    _make("app", name, into)


@command.command("plugin")
@click.argument("name")
@click.option(
    "--with",
    "part",
    type=click.Choice(["op", "llm"]),
    default="op",
    show_default=True,
    help="What it adds: an op, or a backend for a language model.",
)
@_into
def plugin(name: str, part: Part, into: Path | None) -> None:
    """Make a plugin: a package with an op or an LLM of your own.

    NAME is a word, or several with hyphens: weather makes flowcore-weather with WeatherOp.
    """
    _make("plugin", name, into, part)


def _make(kind: Kind, name: str, into: Path | None, part: Part = "op") -> None:
    from flowcore.project import create, missing_distributions, names_of  # noqa: PLC0415

    names = names_of(kind, name, part)
    folder = into or Path(names.distribution)
    files = create(names, folder)
    click.echo(f"Made {folder}: {len(files)} files. What to type next:\n")
    if folder.resolve() != Path.cwd():
        quoted = f'"{folder}"' if " " in str(folder) else str(folder)
        click.echo(f"  cd {quoted}")
    if missing := missing_distributions(names):
        click.echo(f"  pip install --find-links FOLDER {' '.join(missing)}")
    for line in _next_commands(names):
        click.echo(f"  {line}")
    if missing:
        click.echo("\nFOLDER is where the wheels of flowcore are; it is on no package registry.")
    click.echo(f"\n{folder / 'README.md'} tells more.")


def _next_commands(names: Names) -> list[str]:
    first = ['pip install -e ".[dev]"', "pytest"]
    if names.kind == "plugin":
        call = f'flowcore call {names.flow} query="hello world" -c {names.config}'
        return [*first, "flowcore plugins", *([call] if names.part == "op" else [])]
    config = f"{names.config},offline"
    return [
        *first,
        f"flowcore check config={config}",
        f'flowcore call {names.flow} query="Why is the sky blue?" -c {config}',
        f"flowcore config={config}      # then open http://127.0.0.1:8002/playground",
    ]
