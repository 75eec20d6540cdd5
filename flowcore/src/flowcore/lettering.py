"""The texts of a diagram: how wide they are, and how they are broken into lines."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

TITLE_SIZE = 14.0
NOTE_SIZE = 11.0
MAX_WIDTH = 208.0
"""How wide a line may be, in pixels."""


def text_width(text: str, size: float) -> float:
    """Return about how wide a text is, a little too wide rather than too narrow.

    By the class of each character, in parts of the font size, as sans-serif fonts have it: 1 for
    the wide ones of East Asia and emoji, 0 for combining marks, 0.35 for the slim ones of Latin,
    0.9 for ``m``, ``w`` and the like, 0.7 for capitals, and 0.6 for all others; an eighth more
    where they are bold, as titles are.
    """
    bold = 1.125 if size == TITLE_SIZE else 1
    return size * bold * sum(map(_advance, text))


def _advance(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if character in "ijlft.,:;'|!()[]I ":
        return 0.35
    if character in "mwMW@%":
        return 0.9
    return 0.7 if character.isupper() else 0.6


def wrap(text: str, size: float, lines: int) -> list[str]:
    """Return a text as lines that fit into a box; what is too much for them ends with ``…``."""
    wrapped = [""] if text else []
    for piece in _pieces(text, size):
        if text_width((wrapped[-1] + piece).rstrip(), size) > MAX_WIDTH:
            wrapped.append("")
        wrapped[-1] += piece
    if len(wrapped) > lines:
        last = wrapped[lines - 1].rstrip()
        while text_width(f"{last}…", size) > MAX_WIDTH:
            last = last[:-1]
        wrapped = [*wrapped[: lines - 1], f"{last}…"]
    return [line.strip() for line in wrapped]


def _pieces(text: str, size: float) -> Iterable[str]:
    """Split a text where a line may end: after blanks and the words of a name."""
    for word in re.findall(r".+?(?:\s+|(?<=[a-z0-9])(?=[A-Z])|(?<=_)|$)", text, re.DOTALL):
        if text_width(word, size) <= MAX_WIDTH:
            yield word
        else:
            yield from word
