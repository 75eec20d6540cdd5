"""A new app and a new plugin in a clean environment: what `flowcore new` says to type works."""

from __future__ import annotations

import json
import re
import shlex
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import ROOT, Site, new_site, serving

CONSTRAINTS = ("--constraint", ROOT / "constraints.txt")
INSTALL = 'pip install -e ".[dev]"'
# Nearly the longest that is allowed: it makes lines long, which the formatter might break.
NAME = "a-long-name-of-a-weathe"


@dataclass(frozen=True)
class Project:
    """A new project, installed as `flowcore new` says, and the commands that come after that."""

    folder: Path
    commands: Sequence[str]


@pytest.fixture(scope="module")
def workshop(wheels: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An environment with flowcore and nothing of a developer."""
    site = new_site(tmp_path_factory.mktemp("workshop") / "venv", wheels)
    site.install(*CONSTRAINTS, "flowcore[chat,http,openai]")
    return site


@pytest.fixture(scope="module", params=["app", "plugin", "plugin --with llm"])
def project(
    request: pytest.FixtureRequest, workshop: Site, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    parent = tmp_path_factory.mktemp("project")
    kind, *options = request.param.split()
    name = f"{NAME}{'y' if options else ''}"  # all are installed in one environment
    printed = workshop.run("flowcore", "new", kind, *options, name, cwd=parent).stdout
    lines = [
        line.partition("  #")[0].strip() for line in re.findall(r"^  (.*)", printed, re.MULTILINE)
    ]
    assert lines[:2] == [f"cd {name if kind == 'app' else f'flowcore-{name}'}", INSTALL]
    folder = parent / lines[0].removeprefix("cd ")
    workshop.install(*CONSTRAINTS, "--editable", f"{folder}[dev]")
    return Project(folder, lines[2:])


def test_the_commands_that_are_named_work_as_they_stand(workshop: Site, project: Project):
    assert project.commands[0] == "pytest"
    for command in project.commands:
        if command.startswith("flowcore config="):
            with serving(workshop, command.removeprefix("flowcore "), project.folder) as url:
                assert "This answer" in ask(f"{url}/ask")
                with urllib.request.urlopen(f"{url}/playground", timeout=60) as page:
                    assert page.status == 200
        else:
            name, *arguments = shlex.split(command)
            workshop.run(name, *arguments, cwd=project.folder)


def test_the_project_passes_its_own_lint_format_and_types(workshop: Site, project: Project):
    workshop.run("ruff", "check", cwd=project.folder)
    workshop.run("ruff", "format", "--check", cwd=project.folder)
    workshop.run("pyright", "--pythonpath", workshop.program("python"), cwd=project.folder)


def ask(url: str) -> str:
    body = json.dumps({"query": "Why is the sky blue?"}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read().decode()
