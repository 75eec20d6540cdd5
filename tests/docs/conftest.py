from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from flowcore import C, Catalog
from tests.chromium import OPTIONS, find_chromium
from tests.once import made_once

from .markdown import ROOT
from .reader import Reader, environment
from .upstream import upstream


@pytest.fixture(scope="session")
def upstream_url() -> Generator[str]:
    with upstream() as url:
        yield url


@pytest.fixture
def reader(upstream_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Reader]:
    """A reader with an empty folder."""
    modules = set(sys.modules)
    reader = Reader(tmp_path, environment(upstream_url))
    for name in os.environ.keys() - reader.environment.keys():
        monkeypatch.delenv(name)
    for name, value in reader.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "src"):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(sys.modules, "__main__", reader.module)
    # What a page's decorators register must not show on another page.
    for name, registry in vars(Catalog()).items():
        monkeypatch.setattr(C, name, registry)
    yield reader
    reader.close()
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    return made_once(tmp_path_factory, "site", build_site) / "html"


def build_site(folder: Path) -> None:
    options = ["-W", "--keep-going", "-n", "-q", "-b", "html", "-c", "docs"]
    command = [sys.executable, "-m", "sphinx", *options, "-d", str(folder / "kept"), "."]
    built = subprocess.run(
        [*command, str(folder / "html")],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stderr


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=OPTIONS)
        expect.set_options(timeout=30_000)  # other tests may keep the machine busy
        yield browser
        browser.close()
