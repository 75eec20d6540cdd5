"""An answer on the terminal, while it comes."""

from __future__ import annotations

import asyncio
from time import monotonic

from rich.console import Console
from rich.spinner import Spinner
from rich.text import Text

from flowcore.chat.sections import MarkdownSection, Section, ThinkingSection
from flowcore.chat.tail import Line, Tail
from flowcore.schema import ChunkEnum, FlowStreamChunk
from flowcore.terminal import as_text, printable

FRAME = 0.06
"""The least time between two drawings, in seconds; slow drawings wait longer."""

_SECTIONS: dict[ChunkEnum, type[MarkdownSection | ThinkingSection]] = {
    ChunkEnum.ANSWER: MarkdownSection,
    ChunkEnum.THINK: ThinkingSection,
}


class AnswerView:
    """Draws the chunks of a run; needs a running event loop of asyncio.

    Args:
        console: The terminal.

    Attributes:
        anything: Whether there was anything to show.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tail = Tail(console)
        self._kind: ChunkEnum | None = None
        self._section: Section | None = None
        self._done: list[Line] = []
        self.anything = False
        dots = "dots" if console.encoding.startswith("utf") else "line"
        self._spinner: Spinner | None = Spinner(dots, Text("Ctrl-C stops", "dim"), style="dim")
        self._waiting = self._spinner
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0
        self._draw()

    def chunk(self, chunk: FlowStreamChunk) -> None:
        """Take a chunk; what is drawn follows soon."""
        match chunk.chunk_type:
            case ChunkEnum.ANSWER | ChunkEnum.THINK:
                if self._kind is not chunk.chunk_type:
                    self._end_section()
                    self._kind = chunk.chunk_type
                    self._section = _SECTIONS[chunk.chunk_type]()
                    self._separate()
                if self._section is not None:
                    self._section.feed(as_text(chunk))
                self._spinner = None
            case ChunkEnum.TOOL:
                self._end_section()
                self._separate()
                self._done.append(self._one_line(_call(chunk)))
                self._spinner = self._waiting
            case _:
                return
        self._schedule()

    def close(self) -> None:
        """Draw what is left, for ever."""
        if self._timer is not None:
            self._timer.cancel()
        self._spinner = None
        self._end_section()
        self._tail.draw(self._done, [])
        self._done = []

    # --- parts ---

    def _end_section(self) -> None:
        if self._section is not None:
            self._done += self._section.close(self._console)
        self._section = self._kind = None

    def _separate(self) -> None:
        if self.anything:
            self._done.append([])
        self.anything = True

    def _one_line(self, text: Text) -> Line:
        text.truncate(self._console.width, overflow="ellipsis")
        return self._console.render_lines(text, pad=False)[0]

    # --- drawing ---

    def _schedule(self) -> None:
        if self._timer is None:
            delay = max(0.0, self._next - monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._draw)

    def _draw(self) -> None:
        began = monotonic()
        self._timer = None
        done, self._done = self._done, []
        tail: list[Line] = []
        if self._section is not None:
            fresh, tail = self._section.lines(self._console, max(1, self._console.height - 2))
            done += fresh
        if self._spinner is not None:
            tail = [*tail, *self._console.render_lines(self._spinner, pad=False)]
        self._tail.draw(done, tail)
        took = monotonic() - began
        self._next = monotonic() + max(FRAME, 3 * took)
        if self._spinner is not None:
            self._schedule()


def _call(chunk: FlowStreamChunk) -> Text:
    """Return a tool call as one line."""
    text = as_text(chunk)
    if isinstance(chunk.chunk, dict) and isinstance(chunk.chunk.get("name"), str):
        text = f"{chunk.chunk['name']}({chunk.chunk.get('arguments', '')})"
    return Text(printable(f"→ {' '.join(text.split())}"), style="cyan", no_wrap=True)
