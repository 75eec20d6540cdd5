"""Where the parts of a flow's diagram stand: boxes and lines, from top to bottom.

A flow is made of sequences and of parallel branches only. So each part of it takes a rectangle of
its own, is entered at its top and left at its bottom, both on its axis, and nothing crosses.

Lengths are in pixels at the size at which the diagram is drawn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from flowcore.lettering import NOTE_SIZE, TITLE_SIZE, text_width, wrap
from flowcore.op import snake_case
from flowcore.shape import InParallel, InSequence, Shape, Step

TITLE_LINE = 18.0
NOTE_LINE = 15.0
PADDING = 10.0
_MAX_TITLE_LINES, _MAX_NOTE_LINES = 3, 5
_MIN_WIDTH = 88.0
_STEP_GAP = 26.0
_BRANCH_GAP = 20.0
_FORK, _JOIN = 22.0, 14.0
_TRUNK, _TWIG = 14.0, 16.0
_SUB_GAP = 12.0
_DOT = 4.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """An op, drawn as a rectangle with lines of text.

    Attributes:
        step: The op.
        x: Its left side.
        y: Its top.
        width: Its width.
        height: Its height.
        label: Lines that tell by which name another op holds it.
        title: Lines of its title.
        notes: Lines of its parameters.
    """

    step: Step
    x: float
    y: float
    width: float
    height: float
    label: Sequence[str]
    title: Sequence[str]
    notes: Sequence[str]


@dataclass(frozen=True)
class Frame:
    """A rectangle around the sub-op of an op, where that consists of several.

    Attributes:
        x: Its left side.
        y: Its top.
        width: Its width.
        height: Its height.
        label: Lines that tell by which name another op holds it.
    """

    x: float
    y: float
    width: float
    height: float
    label: Sequence[str]


@dataclass(frozen=True)
class Line:
    """A line with right angles.

    Attributes:
        points: Its ends and its corners.
        arrow: Whether there is an arrow at its end.
        held: Whether it leads from an op to one that it holds.
    """

    points: Sequence[Point]
    arrow: bool = False
    held: bool = False


@dataclass
class Drawing:
    """All that is to be drawn.

    Attributes:
        width: Width of the whole.
        height: Height of the whole.
        boxes: The ops.
        frames: What is drawn around some.
        lines: What joins them.
        dots: The beginnings and ends of flows.
    """

    width: float = 0
    height: float = 0
    boxes: list[Box] = field(default_factory=list[Box])
    frames: list[Frame] = field(default_factory=list[Frame])
    lines: list[Line] = field(default_factory=list[Line])
    dots: list[Point] = field(default_factory=list[Point])


def drawing_of(shape: Shape) -> Drawing:
    """Return where everything of a flow stands."""
    block = _WithEnds(_block(shape))
    drawing = Drawing(block.width, block.height)
    block.draw(drawing, 0, 0)
    return drawing


class _Block(ABC):
    """A part of a flow and the rectangle that it takes.

    Attributes:
        width: Width of the rectangle.
        height: Height of the rectangle.
        axis: How far from its left side it is entered and left.
        exit: How far below its top the line begins that leaves it.
        arrow: Whether the line that enters it has an arrow.
    """

    width: float
    height: float
    axis: float
    exit: float
    arrow = True

    @abstractmethod
    def draw(self, drawing: Drawing, x: float, y: float) -> None:
        """Draw it, with its left upper corner at a point."""


class _Leaf(_Block):
    """A box, and to the lower right of it what the op holds."""

    def __init__(self, step: Step, label: str = "") -> None:
        self._step = step
        self._label = wrap(label, NOTE_SIZE, 1)
        self._title = wrap(step.title, TITLE_SIZE, _MAX_TITLE_LINES)
        self._notes = wrap(", ".join(step.notes), NOTE_SIZE, _MAX_NOTE_LINES)
        widths = [text_width(line, TITLE_SIZE) for line in self._title]
        widths += [text_width(line, NOTE_SIZE) for line in (*self._label, *self._notes)]
        # Whole pixels are drawn sharply, and their sums are exact.
        self._box_width = max(_MIN_WIDTH, 2 * ceil(max(widths) / 2) + 2 * PADDING)
        self.exit = (
            2 * PADDING
            + TITLE_LINE * len(self._title)
            + NOTE_LINE * (len(self._label) + len(self._notes))
        )
        self.axis = self._box_width / 2
        self._subs = [_held(name, sub) for name, sub in step.subs]
        self._sub_x = self.axis + _TRUNK + _TWIG
        self.width = max(self._box_width, *(self._sub_x + sub.width for sub in self._subs), 0)
        self.height = self.exit + sum(_SUB_GAP + sub.height for sub in self._subs)

    @property
    def port(self) -> float:
        """How far below its top a line comes from the left."""
        return PADDING + (NOTE_LINE if self._label else TITLE_LINE) / 2

    def draw(self, drawing: Drawing, x: float, y: float) -> None:
        drawing.boxes.append(
            Box(
                self._step,
                *(x, y, self._box_width, self.exit),
                self._label,
                self._title,
                self._notes,
            )
        )
        below = reached = y + self.exit
        trunk = x + self.axis + _TRUNK
        for sub in self._subs:
            below += _SUB_GAP
            sub.draw(drawing, x + self._sub_x, below)
            level = below + sub.port
            way = [(trunk, reached), (trunk, level), (x + self._sub_x, level)]
            drawing.lines.append(Line(way, held=True))
            reached = level
            below += sub.height


class _Framed(_Block):
    """A frame around what an op holds by one name and what consists of several ops."""

    def __init__(self, inner: _Block, label: str) -> None:
        self._inner = _WithEnds(inner)
        self._label = wrap(label, NOTE_SIZE, 1)
        text = max((text_width(line, NOTE_SIZE) for line in self._label), default=0)
        self._head = PADDING + (NOTE_LINE + PADDING / 2) * len(self._label)
        self._side = max(PADDING, PADDING + ceil((text - self._inner.width) / 2))
        self.width = self._inner.width + 2 * self._side
        self.height = self.exit = self._head + self._inner.height + PADDING
        self.axis = self._side + self._inner.axis

    @property
    def port(self) -> float:
        """How far below its top a line comes from the left."""
        return PADDING + NOTE_LINE / 2

    def draw(self, drawing: Drawing, x: float, y: float) -> None:
        drawing.frames.append(Frame(x, y, self.width, self.height, self._label))
        self._inner.draw(drawing, x + self._side, y + self._head)


class _Sequence(_Block):
    """Blocks below each other, on one axis."""

    def __init__(self, blocks: Sequence[_Block], gap: float = _STEP_GAP) -> None:
        self._blocks = blocks
        self._gap = gap
        self.axis = max(block.axis for block in blocks)
        self.width = self.axis + max(block.width - block.axis for block in blocks)
        self.height = sum(block.height for block in blocks) + gap * (len(blocks) - 1)
        self.exit = self.height - blocks[-1].height + blocks[-1].exit

    def draw(self, drawing: Drawing, x: float, y: float) -> None:
        axis = x + self.axis
        left_at: float | None = None
        for block in self._blocks:
            if left_at is not None:
                drawing.lines.append(Line([(axis, left_at), (axis, y)], arrow=block.arrow))
            block.draw(drawing, axis - block.axis, y)
            left_at = y + block.exit
            y += block.height + self._gap


class _Parallel(_Block):
    """Blocks beside each other, between a fork and a join."""

    arrow = False

    def __init__(self, blocks: Sequence[_Block]) -> None:
        self._blocks = blocks
        self.width = sum(block.width for block in blocks) + _BRANCH_GAP * (len(blocks) - 1)
        self.height = self.exit = max(block.height for block in blocks) + _FORK + _JOIN
        last = self.width - blocks[-1].width + blocks[-1].axis
        self.axis = (blocks[0].axis + last) / 2

    def draw(self, drawing: Drawing, x: float, y: float) -> None:
        axis, top, bottom = x + self.axis, y + _FORK, y + self.height
        outer = {self._blocks[0], self._blocks[-1]}
        for block in self._blocks:
            block.draw(drawing, x, top)
            middle = x + block.axis
            there = [(axis, y), (middle, y), (middle, top)]
            back = [(middle, top + block.exit), (middle, bottom), (axis, bottom)]
            if block not in outer:
                there, back = there[1:], back[:2]  # the lines of the others pass by there
            drawing.lines += [Line(there, arrow=block.arrow), Line(back)]
            x += block.width + _BRANCH_GAP


class _Dot(_Block):
    def __init__(self) -> None:
        self.width = self.height = self.exit = 2 * _DOT
        self.axis = _DOT

    def draw(self, drawing: Drawing, x: float, y: float) -> None:
        drawing.dots.append((x + _DOT, y + _DOT))


class _WithEnds(_Sequence):
    """A flow with its beginning and its end."""

    def __init__(self, inner: _Block) -> None:
        super().__init__([_Dot(), inner, _Dot()], _STEP_GAP * 0.75)


def _block(shape: Shape) -> _Block:
    match shape:
        case Step():
            return _Leaf(shape)
        case InSequence(parts=parts):
            return _Sequence([_block(part) for part in parts])
        case InParallel(parts=parts):
            return _Parallel([_block(part) for part in parts])


def _held(name: str, shape: Shape) -> _Leaf | _Framed:
    if not isinstance(shape, Step):
        return _Framed(_block(shape), name)
    return _Leaf(shape, "" if name == snake_case(shape.title) else name)
