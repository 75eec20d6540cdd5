"""What is wrong with a text that is not valid YAML, and where: PyYAML often notices it later."""

from __future__ import annotations

import re
from typing import NamedTuple

import yaml

from flowcore.errors import with_caret

_KEY_WITH_VALUE = re.compile(r"[^#'\"]*?:\s+\S")
_COLON_IN_WORD = re.compile(r"[\w.-]+:(?=\S)")
# YAML knows more of them than other files do.
_LINE_BREAK = re.compile("[\n\x85\u2028\u2029]")


class YamlFault(NamedTuple):
    """A fault, its line and its column, both from 1."""

    message: str
    line: int
    column: int


def yaml_fault(error: yaml.MarkedYAMLError, text: str) -> YamlFault:
    """Return what is wrong with a text, as far as PyYAML's error and the text tell.

    Args:
        error: The error.
        text: The text.
    """
    lines = _LINE_BREAK.split(text)
    problem, context = error.problem or error.context or "", error.context or ""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return YamlFault(problem, 1, 1)
    row, column = min(mark.line, len(lines) - 1), mark.column
    began = error.context_mark or mark

    def at(message: str, row: int = row, column: int = column) -> YamlFault:
        return YamlFault(message, row + 1, column + 1)

    if problem == "could not find expected ':'":
        return at(*_missing_colon(lines, began.line))
    if problem == "mapping values are not allowed here":
        return at(*_unexpected_colon(lines, row, column))
    if "quoted scalar" in context and "end of stream" in problem:
        return at("this quote is never closed", began.line, began.column)
    if problem.startswith(("expected ',' or ']'", "expected ',' or '}'")) and began.line < row:
        return at("this bracket is never closed", began.line, began.column)
    if problem == "but found another document":
        return at("a second document begins here; a configuration is one, without `---`")
    return at(problem + _advice(problem, lines[row]))


def _missing_colon(lines: list[str], row: int) -> tuple[str, int, int]:
    line = lines[row]
    if match := _COLON_IN_WORD.search(line):
        return "a blank is missing after this colon", row, match.end() - 1
    end = len(line.split(" #")[0].rstrip())
    return f"a colon is missing after {line[:end].strip()[:60]!r}", row, end


def _unexpected_colon(lines: list[str], row: int, column: int) -> tuple[str, int, int]:
    line = lines[row]
    if _KEY_WITH_VALUE.match(line[: column + 1]):
        return "a value with a colon and a blank in it needs quotes", row, column
    above = next((n for n in range(row - 1, -1, -1) if lines[n].split("#")[0].strip()), row)
    if _KEY_WITH_VALUE.match(lines[above]):
        indent = len(line) - len(line.lstrip())
        return "this is indented more than the line above, which has a value", row, indent
    return _missing_colon(lines, above)


def _advice(problem: str, line: str) -> str:
    if "'\\t'" in problem:
        return "; indent with blanks, not with tabs"
    if "${" in line:
        return '; between { } or [ ], write a variable in quotes: "${NAME}"'
    if "cannot start any token" in problem or "undefined alias" in problem:
        return "; a text that begins with it needs quotes"
    if "but found '<scalar>'" in problem:
        return "; a text with quotes within it needs quotes around the whole"
    if "'<stream end>'" in problem:
        return "; a bracket is never closed"
    if "'<block mapping start>'" in problem:
        return "; keys of one mapping begin in the same column"
    if problem.startswith("expected chomping"):
        return "; a text begins in the line after `|` or `>`"
    return ""


def pointed_at(text: str, line: int, column: int) -> str:
    """Return a line of a text with a caret below it; nothing if the line is blank or very long."""
    return with_caret(_LINE_BREAK.split(text)[line - 1], column)
