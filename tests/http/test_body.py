from __future__ import annotations

import time

import pytest

from flowcore_http.body import parse_object
from flowcore_http.problem import HttpProblem

NOT_JSON = {
    "nothing": b"",
    "blanks": b" \r\n",
    "a trailing comma": b'{"a": 1,}',
    "trailing text": b"{} {}",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a float too large": b'{"a": [1e999]}',
    "a float too large in digits": b'{"a": ' + b"9" * 400 + b".0}",
    "an integer of 5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "Latin-1": b'{"a": "\xe9"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a raw control character": b'{"a": "\x01"}',
    "single quotes": b"{'a': 1}",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_not_json_is_refused_with_400(body: bytes):
    with pytest.raises(HttpProblem) as caught:
        parse_object(body)

    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_a_syntax_fault_is_told_with_line_and_column():
    with pytest.raises(HttpProblem, match="line 3 column 8"):
        parse_object(b'{\n  "a": 1,\n  "b": ?\n}')


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 300 + b"]" * 300])
def test_deep_nesting_is_refused_at_once(body: bytes):
    started = time.process_time()
    with pytest.raises(HttpProblem) as caught:
        parse_object(body)

    assert caught.value.status == 400
    assert time.process_time() - started < 0.05


def test_long_numbers_cost_no_more_than_others():
    numbers = b",".join([b"1" * 299] * 10_000)
    started = time.process_time()
    parse_object(b'{"a": [%s]}' % numbers)

    assert time.process_time() - started < 0.3


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true"])
def test_json_that_is_not_an_object_is_refused_with_422(body: bytes):
    with pytest.raises(HttpProblem) as caught:
        parse_object(body)

    assert caught.value.status == 422
    assert caught.value.members["errors"][0]["type"] == "dict_type"


def test_of_duplicate_keys_the_last_wins():
    assert parse_object(b'{"a": 1, "a": 2}') == {"a": 2}


def test_exponents_that_a_double_can_hold_are_accepted():
    assert parse_object(b'{"a": 1e300, "b": 1e-999, "text": "1e999"}') == {
        "a": 1e300, "b": 0.0, "text": "1e999",
    }  # fmt: skip
