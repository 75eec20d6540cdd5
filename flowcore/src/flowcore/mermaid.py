"""A flow as text for Mermaid, which Markdown of many places shows as a diagram."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from flowcore.op import Op, snake_case
from flowcore.shape import InParallel, InSequence, Shape, Step, shape_of

_PLAIN = re.compile(r"[\w .,:=+*/()\[\]{}'-]", re.ASCII)


def to_mermaid(op: Op | Mapping[str, Op]) -> str:
    """Return an op, with all that it holds, as a Mermaid flowchart from top to bottom.

    The id of an op's node is ``op`` and its place in the tree, such as ``op0_1``.

    Args:
        op: The op, such as ``flow.op``; or several by name, each of which becomes a subgraph.
    """
    lines = ["flowchart TD"]
    if isinstance(op, Op):
        lines += _Chart("").lines(shape_of(op))
    else:
        for index, (name, part) in enumerate(op.items()):
            lines.append(f'    subgraph flow{index}["{_escape(name)}"]')
            lines += _Chart(f"flow{index}_").lines(shape_of(part))
            lines.append("    end")
    return "\n".join(lines) + "\n"


class _Chart:
    """Makes the nodes and edges of one flow.

    Args:
        prefix: What all ids begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._joints = count()
        self._lines: list[str] = []

    def lines(self, shape: Shape) -> list[str]:
        self._add(shape)
        return [f"    {line}" for line in self._lines]

    def _add(self, shape: Shape) -> tuple[Sequence[str], Sequence[str]]:
        """Add a shape; return the ids of the nodes that it begins with, and it ends with."""
        match shape:
            case Step():
                return self._step(shape)
            case InSequence(parts=parts):
                first, last = self._add(parts[0])
                for part in parts[1:]:
                    begin, end = self._add(part)
                    self._join(last, begin)
                    last = end
                return first, last
            case InParallel(parts=parts):
                ends = [self._add(part) for part in parts]
                return [i for begin, _ in ends for i in begin], [i for _, end in ends for i in end]

    def _step(self, step: Step) -> tuple[Sequence[str], Sequence[str]]:
        node = f"{self._prefix}op{step.place.replace('.', '_')}"
        notes = f"<br/><small>{_escape(', '.join(step.notes))}</small>" if step.notes else ""
        self._lines.append(f'{node}["{_escape(step.title)}{notes}"]')
        for name, sub in step.subs:
            begin, _ = self._add(sub)
            default = isinstance(sub, Step) and name == snake_case(sub.title)
            label = "" if default else f'|"{_escape(name)}"|'
            self._lines += [f"{node} -.->{label} {inner}" for inner in begin]
        return [node], [node]

    def _join(self, before: Sequence[str], after: Sequence[str]) -> None:
        if len(before) > 1 and len(after) > 1:
            joint = f"{self._prefix}joint{next(self._joints)}"
            self._lines.append(f'{joint}((" "))')
            self._join(before, [joint])
            before = [joint]
        self._lines += [f"{one} --> {other}" for one in before for other in after]


def _escape(text: str) -> str:
    return "".join(_escaped(text))


def _escaped(text: str) -> Iterator[str]:
    for character in text:
        if _PLAIN.match(character) or (not character.isascii() and character.isprintable()):
            yield character
        else:
            yield f"#{ord(character)};" if character.isprintable() else " "
