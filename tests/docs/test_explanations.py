"""Every code has a page that explains it, and every page a code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowcore.explain import explanations
from flowcore.limits import Deadlines

from .markdown import EXPLANATIONS, ROOT, blocks

SOURCES = [
    path
    for folder in ("flowcore", "flowcore-http", "plugins")
    for path in sorted((ROOT / folder).glob("**/src/**/*.py"))
]
CODE = re.compile(r"[a-z]+(_[a-z]+)*")
TAKES_A_CODE = {"HttpProblem", "error", "_logged"}
"""Functions that take a code as a positional argument."""
NO_ERRORS = {"done"}
"""Where others stand beside it: the code of a run that came to a good end."""
BY_PATTERN = {f"{name}_timeout" for name in Deadlines.model_fields if name != "cleanup"}
"""Codes that stand nowhere in the sources as they are."""
BASES = {"flowcore_error", "registry_error", "op_error", "timeout"}
"""Codes of classes that are never raised themselves."""
HEADINGS = ["Example", "Causes and remedies", "Where it appears", "Related"]


def codes_in(path: Path) -> set[str]:
    """Return the codes of errors that a module has."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for place in places(node):
            parts = (place.body, place.orelse) if isinstance(place, ast.IfExp) else (place,)
            found |= {
                part.value
                for part in parts
                if isinstance(part, ast.Constant)
                and isinstance(part.value, str)
                and CODE.fullmatch(part.value)
            }
    return found


def places(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the expressions of a node whose texts are codes."""
    match node:
        case ast.Assign(targets=[ast.Name("code")], value=value):
            yield value
        case ast.AnnAssign(target=ast.Name("code"), value=ast.expr() as value):
            yield value
        case ast.keyword(arg="code", value=value):
            yield value
        case ast.Dict(keys=keys, values=values):
            yield from (v for k, v in zip(keys, values, strict=True) if is_text(k, "code"))
        case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name), args=args):
            if name in TAKES_A_CODE:
                yield from args
        case ast.Constant(str(text)) if text.startswith("upstream_"):
            yield node
        case _:
            pass


def is_text(node: ast.AST | None, text: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == text


def test_every_code_has_a_page_and_every_page_a_code():
    codes = {code for path in SOURCES for code in codes_in(path)} | BY_PATTERN
    assert sorted({page.stem for page in EXPLANATIONS} ^ (codes - NO_ERRORS)) == []


def test_no_code_is_explained_twice():
    assert len({page.stem for page in EXPLANATIONS}) == len(EXPLANATIONS)


def test_the_command_finds_every_page():
    found = {(page.package, page.code) for page in explanations()}

    assert found >= {(page.parents[1].name, page.stem) for page in EXPLANATIONS}


@pytest.mark.parametrize("page", EXPLANATIONS, ids=lambda page: page.stem)
def test_a_page_says_what_the_error_means_and_what_to_do(page: Path):
    text = page.read_text(encoding="utf-8")

    assert text.startswith(f"# {page.stem}\n\n")
    assert re.findall("^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert max(map(len, text.splitlines())) <= 400
    related = set(re.findall("`(.+?)`", text.partition("## Related")[2]))
    assert related
    assert related - {page.stem} <= {page.stem for page in EXPLANATIONS}


@pytest.mark.parametrize("page", EXPLANATIONS, ids=lambda page: page.stem)
def test_the_example_of_a_page_shows_its_code(page: Path):
    # Of other examples than commands, the tests of the package compare the message.
    ran = [block.text for block in blocks(page) if block.language == "console"]

    assert page.stem in {*BASES, "smoke_test_failed"} or all(page.stem in text for text in ran)
