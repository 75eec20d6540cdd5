from __future__ import annotations

import pytest

from flowcore.terminal import printable


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d💻",
        "می\u200cخواهم",  # noqa: RUF001
        "क्\u200dष",
        "Vraiment\xa0? 10\u202f000",
        "你好\u3000世界",
        "Donau\xaddampf\u200bschiff",
        "abc \u200fאבג\u200e def",
        "a\tb\n",
    ],
)
def test_what_people_write_is_printed_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "character", ["\x1b", "\x07", "\r", "\x9b", "\x00", "\x7f", "\u202e", "\u2066", "\u2028"]
)
def test_what_steers_a_terminal_is_replaced(character: str) -> None:
    assert printable(f"a{character}b") == "a\ufffdb"


def test_the_line_ends_of_windows_are_line_ends() -> None:
    assert printable("a\r\nb") == "a\nb"
