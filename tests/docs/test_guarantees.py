"""Every guarantee names tests that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from .markdown import ROOT

PAGE = ROOT / "docs" / "reference" / "guarantees.md"


def promises() -> Iterator[tuple[str, list[str]]]:
    """Yield each promise with its tests, as `file::test`."""
    file = ""
    for line in PAGE.read_text(encoding="utf-8").split("\n"):
        if above := re.search(r"\bin `(tests/\S+\.py)`:$", line, re.IGNORECASE):
            file = above[1]
        elif line.startswith("| ") and not line.startswith("| promise"):
            _, promise, tests, _ = line.split("|")
            names = re.findall(r"`([^`]+)`", tests)
            yield promise.strip(), [n if "::" in n else f"{file}::{n}" for n in names]


@cache
def defined_in(file: str) -> set[str]:
    path = ROOT / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    functions = (
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_promise_is_held_by_tests_that_exist():
    found = list(promises())
    missing = [
        f"{promise}: {name}"
        for promise, names in found
        for name in names or ["(no test)"]
        if name.rpartition("::")[2] not in defined_in(name.rpartition("::")[0])
    ]
    assert len(found) > 50
    assert missing == []
