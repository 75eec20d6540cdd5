"""T2c: more streams than a core can pace; none may be harmed."""

from __future__ import annotations

from benchmarks.task import Target
from benchmarks.tasks.full import Full

STREAMS = 2000


class Overfull(Full):
    """As many streams again, all of them whole though slower."""

    id = "T2c"
    title = f"overfull: {STREAMS:,} streams x 20 chunks/s, opened within a second"
    targets = (Target("lost", 0), Target("broken", 0))
    streams = STREAMS


TASK = Overfull()
