"""A reader who does what a page says, block by block, in a folder of their own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from threading import Timer

import pytest
import yaml
from dotenv import dotenv_values

from flowcore import ConfigError, FlowApp, load_config
from tests.nginx import PORT as NGINX
from tests.nginx import running_nginx
from tests.tools import find_tool, missing

from .deployment import image_command, unit_command
from .markdown import Block

PORT = "8002"
SERVING = re.compile(r"(?:serving at|Running on) http://127\.0\.0\.1:(\d+)")
# `flowcore config=…`: without a subcommand, settings mean that a server is started.
STARTS_SERVER = re.compile(
    r"flowcore (serve )?((--reload|--reload-include \S+) )*config=\S+( [\w.]+=\S+)*|hypercorn .*"
)
PATIENCE = 60
"""How long one command may take, in seconds, on a busy machine."""


class Reader:
    """Keeps what a page's blocks share: folder, environment, names, and the server that runs.

    Args:
        folder: Where files are saved and commands run; it is the working directory.
        environment: Environment of the commands.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.module = types.ModuleType("__main__")
        self.port = PORT
        self.printed = ""
        self._server: subprocess.Popen[str] | None = None
        self._nginx_running = contextlib.ExitStack()
        self._nginx_port = 0

    def follow(self, block: Block) -> None:
        """Do what a block says; an AssertionError or any exception tells that it is wrong."""
        if block.file:
            assert f"`{block.file}`" in block.prose, f"say above the block: save as {block.file}"
            self._save(block)
        getattr(self, f"_{block.language or 'plain'}")(block)

    def close(self) -> None:
        """Stop all that runs."""
        self._stop_nginx()
        self._stop_server()

    def _stop_nginx(self) -> None:
        self._nginx_running.close()
        self._nginx_port = 0

    def _stop_server(self) -> None:
        if self._server is None:
            return
        self._server.send_signal(signal.SIGTERM)
        self._server.communicate(timeout=PATIENCE)
        self._server = None
        self.port = PORT

    # --- languages ---

    def _python(self, block: Block) -> None:
        # Line numbers of the page, so that a traceback leads there.
        code = compile(
            "\n" * block.line + self._localised(block.text), block.page, "exec", dont_inherit=True
        )
        if block.file:
            return
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, vars(self.module))
        self.printed = printed.getvalue()

    def _text(self, block: Block) -> None:
        if "output" in block.options:
            assert_matches(self.printed, block.text)
        if "service" in block.options:
            self._assert_service_prints(block.text)

    def _yaml(self, block: Block) -> None:
        if block.file.endswith("_prompt.yaml"):
            texts = yaml.safe_load(block.text)
            assert all(isinstance(text, str) for text in texts.values())
            return
        if block.file == "prometheus.yml":
            assert yaml.safe_load(block.text)["scrape_configs"]
            return
        if not block.file:
            (self.folder / "unnamed.yaml").write_text(block.text, encoding="utf-8")
        config = load_config(block.file or "unnamed.yaml")
        # A block that is wrong on purpose says so; the error it makes stands below it.
        with pytest.raises(ConfigError) if "fails" in block.options else contextlib.nullcontext():
            FlowApp(config)
        if config.llm.get("default", {}).get("backend") == "llamacpp":
            # With more threads the engine spins, and is many times slower on a busy machine.
            self.environment["FLOWCORE_LLM__DEFAULT__PARAMS__N_THREADS"] = "1"

    def _bash(self, block: Block) -> None:
        self._run(block.text)

    def _console(self, block: Block) -> None:
        for command, output in commands(block.text):
            printed = self._run(command, fails="fails" in block.options)
            assert_matches(printed, self._localised(output))

    def _diff(self, block: Block) -> None:
        path = self.folder / block.file
        path.write_text(changed(path.read_text(encoding="utf-8"), block.text), encoding="utf-8")

    def _toml(self, block: Block) -> None:
        project = tomllib.loads(block.text).get("project", {})
        if block.file == "pyproject.toml" and "entry-points" in project:
            self._install(project)

    def _nginx(self, block: Block) -> None:
        self._stop_nginx()
        folder = self.folder / f"nginx-{block.line}"
        self._nginx_port = self._nginx_running.enter_context(
            running_nginx(folder, self._localised(block.text))
        )

    def _markdown(self, block: Block) -> None:
        assert block.file

    def _json(self, block: Block) -> None:
        for text in block.text.splitlines() if block.file.endswith(".jsonl") else [block.text]:
            json.loads(text)

    def _dockerfile(self, block: Block) -> None:
        command, health_check, environment = image_command(self.folder / block.file)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setitem(self.environment, name, value)
            self._serve(command)
        self._run(self._localised(shlex.join(health_check)))
        self._stop_server()

    def _ini(self, block: Block) -> None:
        if block.file.endswith(".service"):
            self._serve(unit_command(self.folder / block.file))
            self._stop_server()
            return
        assert all(dotenv_values(stream=io.StringIO(block.text)).values())

    # --- what they need ---

    def _localised(self, text: str) -> str:
        return text.replace(PORT, self.port).replace(f":{NGINX}/", f":{self._nginx_port}/")

    def _save(self, block: Block) -> None:
        if block.language == "diff":
            return
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        text = self._localised(block.text) if block.language == "python" else block.text
        path.write_text(text, encoding="utf-8")

    def _run(self, command: str, *, fails: bool = False) -> str:
        """Run a command and return what it prints; a server is left running."""
        if STARTS_SERVER.fullmatch(command.strip()):
            return self._serve(command.strip())
        if entered := re.fullmatch(r"cd (\w+)", command.strip()):
            self.folder /= entered[1]
            os.chdir(self.folder)  # the fixture goes back
            return ""
        for tool in ("bash", "curl"):
            if tool in ("bash", command.split(maxsplit=1)[0]):
                find_tool(tool, package=tool)
        if f":{NGINX}/" in command and not self._nginx_port:
            missing("nginx is not installed", "install nginx-light")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._localised(command)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode != 0) == fails, f"{command}\n{done.stdout}"
        assert "Traceback" not in done.stdout, f"{command}\n{done.stdout}"
        return done.stdout

    def _serve(self, command: str) -> str:
        self._stop_server()
        self._server = server = subprocess.Popen(
            ["bash", "-c", f"exec {on_free_port(command)}"],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        assert server.stderr is not None
        watchdog = Timer(PATIENCE, server.kill)
        watchdog.start()
        printed = ""
        for line in server.stderr:
            printed += line
            if found := SERVING.search(line):
                watchdog.cancel()
                self.port = found[1]
                return printed
        watchdog.cancel()
        raise AssertionError(f"{command}: the server did not start\n{printed}")

    def _assert_service_prints(self, shown: str) -> None:
        """Wait for the next lines of the server, which may take a while."""
        assert self._server is not None
        assert self._server.stderr is not None
        watchdog = Timer(PATIENCE, self._server.kill)
        watchdog.start()
        printed = "".join(self._server.stderr.readline() for _ in _lines(shown))
        watchdog.cancel()
        assert_matches(printed, shown)

    def _install(self, project: Mapping[str, object]) -> None:
        """Do what `pip install -e .` does for a pure Python project, without the network."""
        name = str(project["name"])
        info = self.folder / f"{name.replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {project['version']}\n")
        groups: Mapping[str, Mapping[str, str]] = project["entry-points"]  # pyright: ignore[reportAssignmentType]
        lines = [
            line
            for group, entries in groups.items()
            for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
        paths = [str(self.folder), str(self.folder / "src")]
        self.environment["PYTHONPATH"] = os.pathsep.join(paths)


def on_free_port(command: str) -> str:
    """Return a command that starts a server such that the kernel picks the port."""
    changed = command.replace(f":{PORT}", ":0")
    return changed if changed != command else f"{command} http.port=0"


def changed(text: str, diff: str) -> str:
    """Apply a diff whose hunks are parted by lines ``@@``; each must fit in one place."""
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        # An editor, or git, may have taken away the one space of an empty line.
        lines = [line if line.strip() else " \n" for line in hunk.splitlines(keepends=True)]
        before, after = (
            "".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +")
        )
        assert text.count(before) == 1, f"there is not one place with\n{before}"
        text = text.replace(before, after)
    return text


def commands(text: str) -> list[tuple[str, str]]:
    """Split a console block into its commands, each with the output shown below it."""
    found: list[tuple[str, str]] = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        end = next(i for i, line in enumerate(lines) if not line.endswith("\\\n")) + 1
        found.append(("".join(lines[:end]), "".join(lines[end:])))
    return found


def assert_matches(printed: str, shown: str) -> None:
    """Compare an output with what a page shows of it.

    On the page, ``…`` stands for some characters of a line and a line ``...`` for some lines.
    """
    pattern = "\n".join(
        r"(?s:.*)" if line == "..." else re.escape(line).replace("…", ".*?")
        for line in _lines(shown)
    )
    actual = "\n".join(_lines(printed))
    assert re.fullmatch(pattern, actual), f"the page shows\n{shown}\nbut it prints\n{printed}"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def environment(upstream_url: str) -> dict[str, str]:
    """Return the environment of a reader whose model is the stub at ``upstream_url``."""
    dropped = ("FLOW_", "FLOWCORE_", "OPENAI_", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith(dropped) or name.upper().endswith("_PROXY"))
    }
    return {
        **kept,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "FLOW_LLM_BASE_URL": upstream_url,
        "FLOW_LLM_API_KEY": "sk-test",
        "FLOW_EMBEDDING_BASE_URL": upstream_url,
        "FLOW_EMBEDDING_API_KEY": "sk-test",
        "PYTHONIOENCODING": "utf-8",
        "NO_COLOR": "1",
        "COLUMNS": "80",
    }
