"""Every async test of the core runs on asyncio and on trio; no test sees the folder it runs in."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from flowcore import C

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets its background jobs ignore Ctrl-C, and the commands that tests start inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty current folder and no variables of ours."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("FLOW_", "FLOWCORE_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def clean_catalog() -> Iterator[None]:
    """Forget what a test registered with decorators."""
    registries = [C.ops, C.llms, C.embedding_models, C.vector_stores, C.services]
    before = [dict(registry._entries) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry._entries = entries  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return a function that writes a file below the current folder."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, Mapping[str, str], Mapping[str, str]], None]]:
    """Return a function that installs a distribution: `install("my-dist", entry_points, modules)`.

    It writes what an installer writes: the modules and a `.dist-info` folder on `sys.path`.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    written: set[str] = set()

    def install_distribution(
        name: str, entry_points: Mapping[str, str], modules: Mapping[str, str]
    ) -> None:
        info = site / f"{name.replace('-', '_')}-1.2.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n")
        lines = [f"{key} = {value}\n" for key, value in entry_points.items()]
        (info / "entry_points.txt").write_text("".join(["[flowcore]\n", *lines]))
        for module, source in modules.items():
            path = site / Path(*module.split(".")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
            written.add(module.partition(".")[0])

    yield install_distribution
    for module in written:
        for loaded in [name for name in sys.modules if name.partition(".")[0] == module]:
            del sys.modules[loaded]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return a function that lists what flowcore has logged so far, as `LEVEL text`."""
    caplog.set_level(logging.DEBUG, logger="flowcore")
    return lambda: [
        f"{record.levelname} {record.getMessage()}"
        for record in caplog.records
        if record.name == "flowcore"
    ]
