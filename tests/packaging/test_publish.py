"""The tutorial's plugin is built, published on an index and installed from there, word for word."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.docs.markdown import ROOT, Block, blocks
from tests.docs.reader import assert_matches, changed, commands
from tests.ports import reserved_port

from .conftest import environment, run

PAGE = ROOT / "docs" / "tutorials" / "first-plugin.md"
PORT = "8080"


def test_the_plugin_of_the_tutorial_is_installed_from_an_index(
    wheels: Mapping[str, Path], tmp_path: Path
):
    publishing = PAGE.read_text(encoding="utf-8").split("## 6. ")[0].count("\n")
    with reserved_port() as port:
        author = Author(tmp_path, wheels["flowcore"].parent, port)
        try:
            for block in blocks(PAGE):
                if block.file:
                    author.save(block)
                elif block.line > publishing and block.language in {"bash", "console"}:
                    author.follow(block)
        finally:
            author.close()

    assert author.shown == 2
    assert len(list((tmp_path / "index").iterdir())) == 2


class Author:
    """Works in an environment with pip only, and in a folder beside which the index will lie."""

    def __init__(self, parent: Path, wheels: Path, port: int) -> None:
        self.folder = parent / "flowcore-weather"
        self.folder.mkdir()
        run(sys.executable, "-m", "venv", parent / "venv")
        self.environment = {
            **environment(),
            "PATH": f"{parent / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        self.wheels = wheels
        self.port = port
        self.shown = 0
        self._index: subprocess.Popen[bytes] | None = None

    def save(self, block: Block) -> None:
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        is_diff = block.language == "diff"
        text = changed(path.read_text(encoding="utf-8"), block.text) if is_diff else block.text
        path.write_text(text, encoding="utf-8")

    def follow(self, block: Block) -> None:
        if block.language == "console":
            for command, output in commands(block.text):
                # twine prints colours into a pipe, too.
                assert_matches(re.sub(r"\x1b\[\d*m", "", self._run(command)), output)
                self.shown += 1
        elif block.text.startswith("pypi-server run"):
            self._start_index(block.text)
        else:
            self._run(block.text)

    def close(self) -> None:
        if self._index:
            self._index.kill()
            self._index.wait()

    def _run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._here(command)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _start_index(self, command: str) -> None:
        words = re.sub(r"\\\n", " ", self._here(command)).split()
        program = Path(self.environment["PATH"].split(os.pathsep)[0]) / words[0]
        self._index = subprocess.Popen(
            [program, *words[1:]],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not accepts_connections(self.port):
            assert self._index.poll() is None, "the index has ended"
            assert time.monotonic() < deadline, "the index does not answer"
            time.sleep(0.05)

    def _here(self, text: str) -> str:
        text = text.replace(PORT, str(self.port))
        return text.replace("PATH_TO_FLOWCORE/dist", str(self.wheels))


def accepts_connections(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
