"""What a page says about services and images, followed without a service manager or an engine."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.tools import find_tool

PROGRAMS = f"{Path(sys.executable).parent}/"


def unit_command(unit: Path) -> str:
    """Check a unit of systemd, and return the command that it starts.

    The programs and the folder that it names are those of this test.
    """
    text = unit.read_text(encoding="utf-8")
    home = re.search(r"^WorkingDirectory=(.+)$", text, re.MULTILINE)
    assert home, "a unit names its working folder"
    text = text.replace(f"{home[1]}/.venv/bin/", PROGRAMS).replace(home[1], str(unit.parent))
    checked = unit.parent / "checked" / unit.name
    checked.parent.mkdir(exist_ok=True)
    checked.write_text(text, encoding="utf-8")
    command = [find_tool("systemd-analyze", package="systemd"), "verify", "--man=no", str(checked)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=False)
    # What it does not know it ignores with a warning.
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    parser.read_string(text)
    return parser["Service"]["ExecStart"]


@dataclass
class Stage:
    """One stage of a Dockerfile: its instructions by name, in order."""

    base: str
    name: str = ""
    instructions: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def all(self, name: str) -> list[str]:
        return [text for instruction, text in self.instructions if instruction == name]

    def last(self, name: str) -> str:
        """The one that counts, where an instruction replaces the one before it."""
        return self.all(name)[-1]

    def command(self) -> list[str]:
        return [*json.loads(self.last("ENTRYPOINT")), *json.loads(self.last("CMD"))]

    def health_check(self) -> list[str]:
        return json.loads(self.last("HEALTHCHECK").partition("CMD ")[2])


KNOWN = {
    *("COPY", "RUN", "USER", "WORKDIR", "ENV", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    "LABEL",
}


def stages(dockerfile: str) -> list[Stage]:
    """Read a Dockerfile; an AssertionError tells what no engine would take.

    Source: the Dockerfile reference, as far as the pages need it.
    """
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", dockerfile).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        instruction, _, text = line.partition(" ")
        if instruction == "FROM":
            base, _, name = text.partition(" AS ")
            found.append(Stage(base, name))
            continue
        assert found, f"{line}: FROM comes first"
        assert instruction in KNOWN, line
        found[-1].instructions.append((instruction, text.strip()))
    for index, stage in enumerate(found):
        for copy in stage.all("COPY"):
            if source := re.match(r"--from=(\S+)", copy):
                assert source[1] in [before.name for before in found[:index]], copy
    return found


def image_command(dockerfile: Path) -> tuple[str, list[str], dict[str, str]]:
    """Check a Dockerfile; return what its image starts, its health check, and its environment.

    The environment of programs that it copies is that of this test.
    """
    *_, last = stages(dockerfile.read_text(encoding="utf-8"))
    for copy in last.all("COPY"):
        if not copy.startswith("--from"):
            *sources, target = copy.split()
            assert len(sources) == 1 or target.endswith("/")
            missing = [name for name in sources if not (dockerfile.parent / name).exists()]
            assert missing == []
    assert last.all("USER"), "an image does not run as root"
    programs = [_here(word) for word in last.command()]
    environment = dict(text.split("=", 1) for text in last.all("ENV"))
    return shlex.join(programs), [_here(word) for word in last.health_check()], environment


def _here(word: str) -> str:
    return re.sub(r"^/opt/flowcore/bin/", PROGRAMS, word).replace("0.0.0.0", "127.0.0.1")
