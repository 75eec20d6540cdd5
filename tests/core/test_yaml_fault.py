from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flowcore import ConfigError
from flowcore.config_source import yaml_layer
from flowcore.yaml_fault import pointed_at, yaml_fault

Write = Callable[[str, str], Path]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("flow:\n  report\n    stream: true\n", "2:9", "a colon is missing after 'report'"),
        ("http\n  port: 8\n", "1:5", "a colon is missing after 'http'"),
        ("a: 1\nport\nflow: {}\n", "2:5", "a colon is missing after 'port'"),
        ("a: 1\nport # what\n", "2:5", "a colon is missing after 'port'"),
        ("http:\n  host: x\n  port:8002\n", "3:7", "a blank is missing after this colon"),
        ("flow:\n  report:x\n    stream: true\n", "2:9", "a blank is missing after this colon"),
        ("a: b: c\n", "1:5", "a value with a colon and a blank in it needs quotes"),
        ("- a: run: it\n", "1:9", "a value with a colon and a blank in it needs quotes"),
        ("a: 1\n\n  b: 2\n", "3:3", "this is indented more than the line above"),
        ("a:\n    b: 1\n  c: 2\n", "3:3", "keys of one mapping begin in the same column"),
        ("a:\n\tb: 1\n", "2:1", "indent with blanks, not with tabs"),
        ("a: 'x\nb: 1\n", "1:4", "this quote is never closed"),
        ("a: [1, 2\nb: 3\n", "1:4", "this bracket is never closed"),
        ("a:\n  {b: 1\nc: 3\n", "2:3", "this bracket is never closed"),
        ("a: [1,\n  {", "2:4", "a bracket is never closed"),
        ("a: @x\n", "1:4", "a text that begins with it needs quotes"),
        ("a: *x\n", "1:4", "a text that begins with it needs quotes"),
        ('a: "x" y\n', "1:8", "needs quotes around the whole"),
        ("a: |SearchOp()\n", "1:5", "a text begins in the line after"),
        ("a: {b: ${X}}\n", "1:9", 'write a variable in quotes: "${NAME}"'),
        ("a: 1\n---\nb: 2\n", "2:1", "a second document begins here"),
    ],
)
def test_the_place_of_a_slip_is_told_with_its_remedy(
    write: Write, text: str, place: str, said: str
) -> None:
    path = write("my.yaml", text)
    with pytest.raises(ConfigError) as caught:
        yaml_layer(path, {})

    first, shown, caret = str(caught.value).split("\n")
    assert first.startswith(f"{path}:{place}: not valid YAML: ")
    assert said in first
    row, column = map(int, place.split(":"))
    assert shown == f"    {text.splitlines()[row - 1].expandtabs(1)}"
    assert caret.index("^") == 4 + column - 1


def test_a_blank_or_very_long_line_is_not_shown() -> None:
    assert pointed_at("a\n \n", 2, 1) == ""
    assert pointed_at("x" * 501, 1, 7) == ""
    assert pointed_at("\tx", 1, 2) == "\n     x\n     ^"


@given(st.text(st.sampled_from("ab:-[]{}'\"|>#&*!%@` \n\t\x85"), max_size=40))
def test_a_fault_is_always_within_the_text(text: str) -> None:
    try:
        yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        fault = yaml_fault(error, text)
    except (yaml.YAMLError, ValueError):
        return
    else:
        return
    assert fault.message
    assert 1 <= fault.line <= text.count("\n") + text.count("\x85") + 1
    assert fault.column >= 1
    pointed_at(text, fault.line, fault.column)
