"""The lines at the end of the output that may still change."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType, Segment, Segments

from flowcore.terminal import printable

Line = Sequence[Segment]


class Tail:
    """Draws lines that are replaced by the next drawing, below lines that stay.

    Each drawing is one write, so that nothing flickers.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn: Sequence[Line] = ()

    def draw(self, done: Sequence[Line], tail: Sequence[Line]) -> None:
        """Replace what was drawn.

        Args:
            done: Lines that stay for ever.
            tail: Lines that the next drawing replaces.
        """
        if not done and tail == self._drawn:
            return
        with self._console:
            self._erase()
            for line in done:
                self._print([*line, Segment.line()])
            for number, line in enumerate(tail):
                self._print([*([Segment.line()] if number else []), *line])
            self._drawn = tail

    def _erase(self) -> None:
        if not self._drawn:
            return
        # Most terminals break the lines anew when they become narrower.
        width = max(1, self._console.width)
        rows = sum(max(1, -(-Segment.get_line_length([*line]) // width)) for line in self._drawn)
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
        codes = [ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up * (rows - 1)]
        self._console.control(Control(*codes))

    def _print(self, segments: Sequence[Segment]) -> None:
        self._console.print(Segments(map(_harmless, segments)), end="", soft_wrap=True)


def _harmless(segment: Segment) -> Segment:
    # Markdown has its own ways to write a control character, such as `&#27;`.
    return Segment(printable(segment.text), segment.style)
