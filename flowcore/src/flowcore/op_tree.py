"""The tree of ops that a flow is: whether it can be run, where each op stands, and running it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator

from flowcore.errors import OpDefinitionError
from flowcore.op import Op
from flowcore.run import Run

MAX_OPS = 10_000


def check_tree(root: Op) -> None:
    """Check that a tree of ops is finite, and small enough to be copied for each run.

    Raises:
        OpDefinitionError: If an op holds itself, or there are more than ``MAX_OPS`` ops.
    """
    # An op may stand in many places: a few lines can make millions of ops.
    count = 0
    pending: list[tuple[Op, tuple[Op, ...]]] = [(root, ())]
    while pending:
        op, above = pending.pop()
        if any(op is ancestor for ancestor in above):
            raise OpDefinitionError(f"op {op.name!r} is a part of itself")
        count += 1
        if count > MAX_OPS:
            raise OpDefinitionError(f"the flow has more than {MAX_OPS} ops")
        pending += [(child, (*above, op)) for _, child in op.children()]


def places(root: Op) -> Iterator[tuple[str, Op]]:
    """Yield all ops of a tree in the order written, each with its place in it.

    The root's place is ``"0"``; that of an op's second child is the op's own with ``".1"`` behind
    it. A place is the same for all runs of a flow, and in its diagrams.
    """
    pending = [("0", root)]
    while pending:
        place, op = pending.pop()
        yield place, op
        children = [(f"{place}.{index}", child) for index, (_, child) in enumerate(op.children())]
        pending += reversed(children)


def perform(root: Op, run: Run) -> Awaitable[object]:
    """Return what runs a copy of a tree of ops; the run encloses it."""
    op = root.bind(run)
    if run.trace is not None:
        for place, part in places(op):
            part._place = place  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return op._perform(run)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
