"""Answers as lines: what is told to stay is the same however the text came."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from flowcore.chat.sections import MarkdownSection, Section, ThinkingSection, finished_blocks
from flowcore.chat.tail import Line

BLOCKS = [
    "# Heading\n",
    "Some *words* that are long enough to need a second line on a narrow terminal.\n",
    "- one\n- two\n\n  still two\n",
    "1. first\n2. second\n",
    "```python\nx = 1\n\n\ny = 2\n```\n",
    "    indented\n",
    "| a | b |\n|---|---|\n| 1 | 中文 |\n",
    "> quoted\n> again\n",
    "***\n",
    "Title\n=====\n",
    "<b>html</b>\n",
]


def console(width: int = 30) -> Console:
    return Console(file=io.StringIO(), width=width, height=10, color_system=None)


def shown(lines: Sequence[Line]) -> list[str]:
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def stream(section: Section, pieces: Sequence[str], room: int = 1000) -> list[str]:
    told: list[Line] = []
    for piece in pieces:
        section.feed(piece)
        done, tail = section.lines(console(), room)
        told += done
        assert len(tail) <= room
    return shown([*told, *section.close(console())])


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.sampled_from(BLOCKS), max_size=6), st.integers(1, 7))
@example(["- one\n- two\n\n  still two\n", "1. first\n2. second\n"], 1)
def test_markdown_looks_the_same_in_one_piece_and_in_many(blocks: list[str], size: int):
    text = "\n".join(blocks)
    pieces = [text[i : i + size] for i in range(0, len(text), size)]

    assert stream(MarkdownSection(), pieces) == stream(MarkdownSection(), [text])


@settings(deadline=None)
@given(st.text(max_size=60), st.integers(1, 5))
def test_thinking_looks_the_same_in_one_piece_and_in_many(text: str, size: int):
    pieces = [text[i : i + size] for i in range(0, len(text), size)]

    assert stream(ThinkingSection(), pieces) == stream(ThinkingSection(), [text])


@pytest.mark.parametrize("section", [MarkdownSection, ThinkingSection])
def test_what_does_not_fit_on_the_screen_stays_where_it_is(section: type[Section]):
    items = [f"1. item {number}\n" for number in range(1, 50)]

    lines = stream(section(), items, room=5)

    assert [line.split()[-1] for line in lines] == [str(number) for number in range(1, 50)]


def test_blocks_are_set_apart_by_one_blank_line():
    lines = stream(MarkdownSection(), ["# One\n\n\n\ntwo\n\n- three\n\n\n"])

    assert lines == ["One", "", "two", "", " • three"]


def test_a_block_is_finished_when_the_next_has_a_whole_line():
    assert finished_blocks("one\n\n#") == ([], "one\n\n#")
    assert finished_blocks("one\n\n# two") == ([], "one\n\n# two")
    assert finished_blocks("one\n\n# two\n") == (["one\n"], "# two\n")


def test_a_fence_that_is_open_is_not_finished():
    text = "```\none\n\n# two\n\nthree\n"

    assert finished_blocks(text) == ([], text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a [bank](http://evil.example)", "a bank (http://evil.example)"),
        ("red \x1b[31m", "red \ufffd[31m"),
        ("one\r\ntwo", "one two"),
    ],
)
def test_nothing_hides_in_markdown(text: str, line: str):
    assert shown(closed(text)) == [line]


def closed(text: str) -> list[Line]:
    section = MarkdownSection()
    section.feed(text)
    return section.close(console(60))
