from __future__ import annotations

import importlib
import pkgutil
import sys

import pytest


@pytest.mark.parametrize(
    "package",
    [
        *("flowcore", "flowcore_http", "flowcore_chat", "flowcore_example"),
        *("flowcore_llamacpp", "flowcore_memory", "flowcore_openai"),
    ],
)
def test_every_module_can_be_imported(package: str):
    path = importlib.import_module(package).__path__
    found = {module.name for module in pkgutil.walk_packages(path, f"{package}.")}
    modules = found - {f"{package}.__main__"}  # which is a program
    for name in modules:
        importlib.import_module(name)

    assert modules <= sys.modules.keys()
