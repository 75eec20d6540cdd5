"""The lines that change, on a screen."""

from __future__ import annotations

import io

import pyte
from rich.console import Console
from rich.segment import Segment

from flowcore.chat.tail import Tail


class Screen:
    """Draws on a terminal of a few rows."""

    def __init__(self, columns: int = 20, rows: int = 6) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)
        self._file = io.StringIO()
        self.console = Console(file=self._file, force_terminal=True, width=columns, height=rows)
        self.tail = Tail(self.console)
        self.writes: list[str] = []

    def draw(self, done: list[str], tail: list[str]) -> list[str]:
        self._file.seek(0)
        self._file.truncate()
        self.tail.draw([[Segment(line)] for line in done], [[Segment(line)] for line in tail])
        self.writes.append(self._file.getvalue())
        self._stream.feed(self.writes[-1].replace("\n", "\r\n"))
        return [line.rstrip() for line in self._screen.display if line.strip()]


def test_the_tail_is_replaced_and_what_is_done_stays():
    screen = Screen()

    assert screen.draw([], ["a"]) == ["a"]
    assert screen.draw([], ["ab", "c"]) == ["ab", "c"]
    assert screen.draw(["abc"], ["d"]) == ["abc", "d"]
    assert screen.draw(["de"], []) == ["abc", "de"]
    assert screen.draw(["f"], ["g"]) == ["abc", "de", "f", "g"]


def test_what_has_not_changed_is_not_drawn_again():
    screen = Screen()
    screen.draw([], ["a"])

    screen.draw([], ["a"])

    assert screen.writes[-1] == ""


def test_lines_that_a_narrower_terminal_broke_in_two_are_replaced_as_well():
    wide, narrow = Screen(columns=20), Screen(columns=8)
    wide.draw([], ["twelve chars"])
    narrow.draw(["stays"], [])
    narrow.draw([], ["twelve c", "hars"])  # as the terminal shows it once it is narrow

    wide.console.width = 8
    narrow.tail = wide.tail
    narrow._file = wide._file

    assert narrow.draw(["new"], []) == ["stays", "new"]


def test_control_characters_are_replaced():
    screen = Screen()

    assert screen.draw(["\x1b[2Jx\x07"], []) == ["\ufffd[2Jx\ufffd"]
