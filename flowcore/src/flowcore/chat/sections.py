"""The parts of an answer as lines for the screen: those that stay, and those that may change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Protocol

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.text import Text

from flowcore.chat.tail import Line
from flowcore.terminal import printable

CODE_THEME = "ansi_dark"

_PARSER = MarkdownIt().enable("table").enable("strikethrough")  # as rich has it


class Section(Protocol):
    """A part of an answer that grows."""

    def feed(self, text: str) -> None:
        """Add text to its end."""
        ...

    def lines(self, console: Console, room: int) -> tuple[list[Line], list[Line]]:
        """Return the lines that are new and stay, and those that may change.

        Args:
            console: The terminal.
            room: How many lines that may change there can be; what exceeds them stays.
        """
        ...

    def close(self, console: Console) -> list[Line]:
        """Return the lines that are left."""
        ...


class _Heading(Heading):
    """A heading where text begins, and not in the middle."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
    }


class _Growing:
    """Renders a text whose end may still change; what was told to stay is not told again."""

    def __init__(self) -> None:
        self.text = ""
        self._told = 0

    def split(self, rendered: Sequence[Line], room: int) -> tuple[list[Line], list[Line]]:
        done = max(self._told, len(rendered) - room)
        fresh = list(rendered[self._told : done])
        self._told = done
        return fresh, list(rendered[done:])

    def finish(self, rendered: Sequence[Line]) -> list[Line]:
        fresh = list(rendered[self._told :])
        self._told = 0
        return fresh


class MarkdownSection(_Growing):
    """Markdown, rendered block by block: a block stays once the next one has begun."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks = 0

    def feed(self, text: str) -> None:
        """Add text to its end."""
        self.text += text

    def lines(self, console: Console, room: int) -> tuple[list[Line], list[Line]]:
        """Return the lines that are new and stay, and those that may change."""
        blocks, self.text = finished_blocks(self.text)
        done = [line for block in blocks for line in self._finish(console, block)]
        fresh, tail = self.split(self._render(console, self.text), room)
        return done + fresh, tail

    def close(self, console: Console) -> list[Line]:
        """Return the lines that are left."""
        blocks, rest = finished_blocks(f"{self.text}\n")
        self.text = ""
        return [line for block in (*blocks, rest) for line in self._finish(console, block)]

    def _finish(self, console: Console, block: str) -> list[Line]:
        rendered = self._render(console, block)
        self._blocks += bool(rendered)
        return self.finish(rendered)

    def _render(self, console: Console, block: str) -> list[Line]:
        if not block.strip():
            return []
        # A link shows where it leads: its text may be a lie.
        markdown = _Markdown(
            printable(block.replace("\r\n", "\n")), code_theme=CODE_THEME, hyperlinks=False
        )
        lines = _rendered(console, markdown)
        while lines and _is_blank(lines[-1]):
            lines.pop()
        while lines and _is_blank(lines[0]):
            del lines[0]
        return [[], *lines] if self._blocks and lines else lines


class ThinkingSection(_Growing):
    """What a model thinks: plain, dim text."""

    def feed(self, text: str) -> None:
        """Add text to its end."""
        self.text += text

    def lines(self, console: Console, room: int) -> tuple[list[Line], list[Line]]:
        """Return the lines that are new and stay, and those that may change."""
        head, newline, rest = self.text.rpartition("\n")
        done = self.finish(self._render(console, head)) if newline else []
        self.text = rest
        fresh, tail = self.split(self._render(console, rest) if rest else [], room)
        return done + fresh, tail

    def close(self, console: Console) -> list[Line]:
        """Return the lines that are left."""
        text = self.text.rstrip()
        self.text = ""
        return self.finish(self._render(console, text)) if text else []

    def _render(self, console: Console, text: str) -> list[Line]:
        return _rendered(console, Text(printable(text), style="dim italic"))


def finished_blocks(text: str) -> tuple[list[str], str]:
    """Return the blocks of Markdown that more text cannot change, and the rest."""
    # The last line is left out while it grows: `#` may become a heading or a word.
    complete = text.rfind("\n") + 1
    starts = [
        token.map[0]
        for token in _PARSER.parse(text[:complete])
        if token.level == 0 and token.map and token.nesting >= 0
    ]
    if len(starts) < 2:
        return [], text
    lines = text.split("\n")
    blocks = ["\n".join(lines[begin:end]) for begin, end in pairwise(starts)]
    return blocks, "\n".join(lines[starts[-1] :])


def _rendered(console: Console, renderable: RenderableType) -> list[Line]:
    return [*console.render_lines(renderable, pad=False)]


def _is_blank(line: Line) -> bool:
    return not "".join(segment.text for segment in line).strip() and not any(
        segment.style and segment.style.bgcolor for segment in line
    )
