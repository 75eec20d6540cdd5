"""Parsers of event streams from npm, in one Node process that reads recorded streams."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.tools import find_tool, missing

# The newest that run on Node 18 and later.
PACKAGES = ("eventsource-parser@3.1.1", "@microsoft/fetch-event-source@2.0.1")
SCRIPT = Path(__file__).with_name("parsers.mjs")


def install_packages(cache: Path) -> Path:
    """Install the packages below `cache`, unless an earlier run has; return the folder."""
    npm = find_tool("npm", package="Node 18 or later, with npm")
    folder = cache / "-".join(package.replace("/", "-") for package in PACKAGES)
    if folder.is_dir():
        return folder
    options = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund"]
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        made = Path(temporary, "made")
        made.mkdir()
        result = subprocess.run(
            [npm, "install", "--prefix", os.fspath(made), *options, *PACKAGES],
            cwd=made,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if result.returncode:
            missing(f"npm cannot install {', '.join(PACKAGES)}", result.stderr.strip())
        # Another run may have been quicker.
        with suppress(OSError):
            made.rename(folder)
    assert folder.is_dir()
    return folder


class Parsers:
    """The running process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def parse(self, pieces: Iterable[bytes]) -> dict[str, list[dict[str, Any]]]:
        """Return the events that each parser makes of a stream that comes in pieces."""
        return self._ask({"pieces": [base64.b64encode(piece).decode() for piece in pieces]})

    def fetch(self, url: str, body: str) -> dict[str, list[dict[str, Any]]]:
        """Return the events that each parser makes of the answer of a server to a POST."""
        return self._ask({"url": url, "body": body})

    def fetch_again(self, url: str, body: str) -> list[dict[str, Any]]:
        """Return the events that fetch-event-source gets, connecting again after each cut."""
        return self._ask({"url": url, "body": body, "again": True})["fetch-event-source"]

    def _ask(self, question: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "node has ended; see what it printed"
        return json.loads(line)


@contextmanager
def running_parsers(cache: Path) -> Generator[Parsers]:
    """Start Node with the parsers."""
    node = find_tool("node", "nodejs", package="Node 18 or later")
    folder = install_packages(cache)
    process = subprocess.Popen(
        [node, os.fspath(SCRIPT), os.fspath(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        yield Parsers(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=10) == 0
