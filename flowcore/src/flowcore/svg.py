"""A flow drawn as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from flowcore.layout import (
    NOTE_LINE,
    PADDING,
    TITLE_LINE,
    Box,
    Drawing,
    Frame,
    Line,
    Point,
    drawing_of,
)
from flowcore.lettering import NOTE_SIZE, TITLE_SIZE, text_width, wrap
from flowcore.op import Op
from flowcore.shape import in_words, shape_of

_MARGIN = 8.0
_RADIUS = 6.0
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}

_HEADING, _GAP = 32.0, 24.0

_STYLE = """
.flow-diagram { color-scheme: light dark; background: #fff; color: #57606a; }
.flow-diagram .op rect { fill: #f6f8fa; }
.flow-diagram rect { stroke: #8c959f; }
.flow-diagram :is(.title, .heading) { fill: #1f2328; }
@media (prefers-color-scheme: dark) {
.flow-diagram { background: #0d1117; color: #9198a1; }
.flow-diagram .op rect { fill: #161b22; }
.flow-diagram rect { stroke: #6e7681; }
.flow-diagram :is(.title, .heading) { fill: #f0f6fc; }
}
"""


def to_svg(op: Op | Mapping[str, Op], *, title: str = "Flow", styled: bool = False) -> str:
    """Draw an op, with all that it holds, from top to bottom.

    Each op is a group ``<g class="op" data-op="PLACE">``; its place is that of the op's events in
    the trace of a run. Nothing in it needs a policy that allows styles or scripts: without a style
    of the page it is drawn in the colour of the text around it.

    Args:
        op: The op, such as ``flow.op``; or several by name, drawn below each other, each in a
            group ``<g class="named" data-flow="NAME">``.
        title: Name of the diagram, for those who do not see it.
        styled: Whether it brings colours along, light and dark ones, for a file of its own.
    """
    if isinstance(op, Op):
        shape = shape_of(op)
        drawing = drawing_of(shape)
        size = drawing.width, drawing.height
        return _svg(*size, title, in_words(shape), _parts(drawing), styled=styled)
    shapes = {name: shape_of(each) for name, each in op.items()}
    words = [f"{name}: {in_words(shape)}." for name, shape in shapes.items()]
    width, y = 0.0, -_GAP
    parts: list[str] = []
    for name, shape in shapes.items():
        drawing = drawing_of(shape)
        (heading,) = wrap(name, TITLE_SIZE, 1)
        y += _GAP
        parts += [f'<g class="named" data-flow="{_escape(name)}" transform="translate(0 {_n(y)})">']
        parts += _text("heading", [heading], TITLE_SIZE, TITLE_LINE, 0, 0)
        parts += [f'<g transform="translate(0 {_n(_HEADING)})">', *_parts(drawing), "</g>", "</g>"]
        y += _HEADING + drawing.height
        width = max(width, drawing.width, text_width(heading, TITLE_SIZE))
    return _svg(width, max(y, 0), title, " ".join(words), parts, styled=styled)


def _svg(
    width: float, height: float, title: str, words: str, parts: Iterable[str], *, styled: bool
) -> str:
    size = [_n(width + 2 * _MARGIN), _n(height + 2 * _MARGIN)]
    opening = (
        '<svg xmlns="http://www.w3.org/2000/svg" class="flow-diagram" role="img" '
        f'width="{size[0]}" height="{size[1]}" '
        f'viewBox="{_n(-_MARGIN)} {_n(-_MARGIN)} {" ".join(size)}" '
        'fill="none" stroke="currentColor" stroke-width="1.5" '
        'font-family="system-ui, sans-serif">'
    )
    return "\n".join(
        [
            opening,
            f"<title>{_escape(title)}</title>",
            f"<desc>{_escape(words)}</desc>",
            *([f"<style>{_STYLE}</style>"] if styled else []),
            *parts,
            "</svg>\n",
        ]
    )


def _parts(drawing: Drawing) -> Iterator[str]:
    yield from map(_frame, drawing.frames)
    for line in drawing.lines:
        yield from _line(line)
    for x, y in drawing.dots:
        yield f'<circle class="end" cx="{_n(x)}" cy="{_n(y)}" r="4" fill="currentColor"/>'
    yield from map(_box, drawing.boxes)


def _box(box: Box) -> str:
    middle = box.x + box.width / 2
    whole = ", ".join(box.step.notes)
    y = box.y + PADDING
    texts: list[str] = []
    for name, lines, size, height in (
        ("label", box.label, NOTE_SIZE, NOTE_LINE),
        ("title", box.title, TITLE_SIZE, TITLE_LINE),
        ("notes", box.notes, NOTE_SIZE, NOTE_LINE),
    ):
        texts += _text(name, lines, size, height, middle, y)
        y += height * len(lines)
    return "\n".join(
        [
            f'<g class="op" data-op="{box.step.place}">',
            f"<title>{_escape(f'{box.step.title}({whole})')}</title>",
            _rect(box),
            *texts,
            "</g>",
        ]
    )


def _frame(frame: Frame) -> str:
    middle = frame.x + frame.width / 2
    lines = _text("label", frame.label, NOTE_SIZE, NOTE_LINE, middle, frame.y + PADDING)
    dashed = _rect(frame).replace("/>", ' stroke-dasharray="2 3"/>')
    return "\n".join(['<g class="frame">', dashed, *lines, "</g>"])


def _rect(box: Box | Frame) -> str:
    return (
        f'<rect x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" '
        f'height="{_n(box.height)}" rx="{_n(_RADIUS)}"/>'
    )


def _text(
    name: str, lines: Sequence[str], size: float, height: float, x: float, y: float
) -> Iterator[str]:
    weight = ' font-weight="600"' if name in {"title", "heading"} else ""
    anchor = "start" if name == "heading" else "middle"
    slant = ' font-style="italic"' if name == "label" else ""
    for index, line in enumerate(lines):
        base = y + height * index + height / 2 + size * 0.35
        yield (
            f'<text class="{name}" x="{_n(x)}" y="{_n(base)}" font-size="{_n(size)}"'
            f'{weight}{slant} text-anchor="{anchor}" fill="currentColor" stroke="none">'
            f"{_escape(line)}</text>"
        )


def _line(line: Line) -> Iterator[str]:
    name = "held" if line.held else "flow"
    dashes = ' stroke-dasharray="4 3"' if line.held else ""
    yield f'<path class="{name}" d="{_rounded(line.points)}"{dashes}/>'
    if line.arrow:
        x, y = line.points[-1]
        yield (
            f'<path class="arrow" d="M{_n(x)} {_n(y)}l-4 -7h8z" fill="currentColor" stroke="none"/>'
        )


def _rounded(points: Sequence[Point]) -> str:
    """Return the path through points, with rounded corners."""
    points = [
        point for index, point in enumerate(points) if point != points[index - 1] or not index
    ]
    path = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (ax, ay), (bx, by) = _near(corner, before), _near(corner, after)
        path.append(f"L{_n(ax)} {_n(ay)}Q{_n(corner[0])} {_n(corner[1])} {_n(bx)} {_n(by)}")
    path.append(f"L{_n(points[-1][0])} {_n(points[-1][1])}")
    return "".join(path)


def _near(corner: Point, other: Point) -> Point:
    """Return the point at which a rounded corner begins, towards another point."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    part = min(_RADIUS / (abs(dx) + abs(dy)), 0.5)
    return corner[0] + dx * part, corner[1] + dy * part


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _escape(text: str) -> str:
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character in _ENTITIES:
        return _ENTITIES[character]
    # What is printable is valid in XML, and steers no terminal.
    return character if character.isprintable() else " " if character.isspace() else "\ufffd"
