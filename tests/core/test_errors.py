from __future__ import annotations

import pytest

from flowcore import ConfigError, ExpressionError, InputError, UnknownNameError
from flowcore.errors import did_you_mean


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("StreamChatop", "; did you mean 'StreamChatOp'?"),
        ("xyz", ""),
        ("", ""),
        ("StreamChatOp" * 10_000, ""),
    ],
)
def test_the_nearest_name_is_suggested_if_one_is_near(name: str, said: str) -> None:
    assert did_you_mean(name, ["StreamChatOp", "ChatOp"]) == said


def test_a_config_error_begins_with_its_place() -> None:
    assert str(ConfigError("wrong", "my.yaml:3")) == "my.yaml:3: wrong"
    assert str(ConfigError("wrong")) == "wrong"


def test_an_expression_error_shows_its_line_with_a_caret_unless_it_is_endless() -> None:
    error = ExpressionError("wrong", flow="f", line=2, column=3, source="a\nbcd\ne")
    assert str(error) == "flow 'f', line 2, column 3: wrong\n    bcd\n      ^"

    error = ExpressionError("wrong", flow="f", line=1, column=3, source="x" * 10_000)
    assert str(error) == "flow 'f', line 1, column 3: wrong"


def test_an_input_error_lists_all_faults() -> None:
    faults = [
        {"loc": ["a", 0], "msg": "too short", "type": "x"},
        {"loc": [], "msg": "not a mapping", "type": "y"},
    ]

    error = InputError("f", faults)

    assert str(error) == ("invalid input for flow 'f': a.0: too short; (input): not a mapping")
    assert error.errors == faults


def test_an_unknown_name_says_what_there_is_or_why_there_is_nothing() -> None:
    assert str(UnknownNameError("op", "a", [])) == "unknown op 'a'; no op is registered"
    assert str(UnknownNameError("op", "Aop", ["AOp"], "look there")) == (
        "unknown op 'Aop'; did you mean 'AOp'?; look there"
    )
