from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "name"
    ]: folder
    for folder in [ROOT / "flowcore", ROOT / "flowcore-http", *sorted((ROOT / "plugins").iterdir())]
    if (folder / "pyproject.toml").is_file()
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "distribution" in metafunc.fixturenames:
        metafunc.parametrize("distribution", SOURCES)


@pytest.fixture(scope="session")
def sources() -> Mapping[str, Path]:
    """The folder of each distribution."""
    return SOURCES


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """One wheel for each distribution, built in isolation; all lie in one folder."""
    folder = tmp_path_factory.mktemp("wheels")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda source: run(*build_command(source, folder)), SOURCES.values()))
    built = {path.name.split("-")[0].replace("_", "-"): path for path in folder.glob("*.whl")}
    assert sorted(built) == sorted(SOURCES)
    return built


@pytest.fixture(scope="session")
def site(wheels: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A clean virtual environment with flowcore, flowcore-http and flowcore-example."""
    site = new_site(tmp_path_factory.mktemp("site") / "venv", wheels)
    site.install("flowcore", "flowcore-http", "flowcore-example")
    return site


def new_site(folder: Path, wheels: Mapping[str, Path]) -> Site:
    """Make a virtual environment that is empty but for what installs packages."""
    program = uv()
    maker = [program, "venv", "--python"] if program else []
    run(*maker, sys.executable, *([] if program else ["-m", "venv"]), folder)
    return Site(folder, wheels["flowcore"].parent)


@dataclass(frozen=True)
class Site:
    """A virtual environment, and a folder of wheels to install from."""

    folder: Path
    wheels: Path

    def program(self, name: str) -> Path:
        return self.folder / (f"Scripts/{name}.exe" if os.name == "nt" else f"bin/{name}")

    def install(self, *requirements: str | Path) -> None:
        run(*self._pip("install"), "--find-links", self.wheels, *requirements)

    def uninstall(self, *names: str) -> None:
        run(*self._pip("uninstall"), *([] if uv() else ["--yes"]), *names)

    def run(
        self, name: str, *arguments: str | Path, cwd: Path | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        return run(self.program(name), *arguments, cwd=cwd or self.folder, code=code)

    def environment(self) -> dict[str, str]:
        return environment()

    def _pip(self, command: str) -> Sequence[str | Path]:
        python = self.program("python")
        if program := uv():
            return [program, "pip", command, "--quiet", "--python", python]
        return [python, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]


@contextmanager
def serving(site: Site, setting: str, cwd: Path) -> Generator[str]:
    """Start the service on a port that the kernel picks, give its address, and stop it."""
    arguments = [setting, "backend=http", "http.host=127.0.0.1", "http.port=0"]
    process = subprocess.Popen(
        [site.program("flowcore"), *arguments],
        cwd=cwd,
        env=site.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = Timer(30, process.kill)
    watchdog.start()
    try:
        assert process.stderr is not None
        line = next((line for line in process.stderr if "serving at" in line), "never served")
        yield line.split("serving at ")[1].split()[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
        watchdog.cancel()
    if sys.platform != "win32":
        assert process.returncode == 0


def run(*command: str | Path, cwd: Path = ROOT, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def environment() -> dict[str, str]:
    """The environment, without what would let this session's own packages show through."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "FLOW_", "FLOWCORE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1", "COLUMNS": "200"}


def build_command(source: Path, folder: Path) -> Sequence[str | Path]:
    if program := uv():
        return [program, "build", "--quiet", "--wheel", "--out-dir", folder, source]
    if importlib.util.find_spec("build"):
        return [sys.executable, "-m", "build", "--wheel", "--outdir", folder, source]
    return [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, source]


def uv() -> Path | None:
    beside = Path(sys.executable).parent
    found = shutil.which("uv", path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))
    return Path(found) if found else None
