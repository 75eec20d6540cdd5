from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flowcore.shipped import shipped_folders


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package whose entry point is a module of a package within it."""
    monkeypatch.syspath_prepend(tmp_path)
    info = tmp_path / "tea_shop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: tea_shop\nVersion: 1.0\n", encoding="utf-8")
    entry = "[flowcore]\ntea = tea_shop.flows.hooks\n"
    (info / "entry_points.txt").write_text(entry, encoding="utf-8")
    package = tmp_path / "tea_shop"
    (package / "flows").mkdir(parents=True)
    for folder in (package, package / "flows"):
        (folder / "__init__.py").write_text("raise SystemExit('broken')", encoding="utf-8")
    return package


def test_each_package_that_leads_to_the_module_of_a_plugin_may_ship_folders(plugin: Path) -> None:
    (plugin / "menus").mkdir()
    (plugin / "flows" / "menus").mkdir()
    (plugin / "flows" / "hooks").mkdir()

    assert [*shipped_folders("menus")] == [
        ("tea_shop", plugin / "menus"),
        ("tea_shop.flows", plugin / "flows" / "menus"),
    ]
    assert "tea_shop" not in sys.modules


def test_flowcore_itself_comes_first() -> None:
    assert next(shipped_folders("configs"))[0] == "flowcore"
