"""T8a: what a chunk costs where there are many streams."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.load import Load
from benchmarks.paced import check_pace, paced, warm_up
from benchmarks.server import Server
from benchmarks.task import Figure, Target

FEW = 100
MANY = 2000


class Growth:
    """The cost of a chunk among many streams, over that among few."""

    id = "T8a"
    title = f"growth: CPU per chunk at {MANY:,} streams over that at {FEW}"
    figures = (
        Figure("ratio", "growth", "times", "lower"),
        Figure("few", f"at {FEW}", "us/chunk", "lower"),
        Figure("many", f"at {MANY:,}", "us/chunk", "lower"),
    )
    reference = "raw_hypercorn"
    targets = (Target("ratio", 1.3),)
    upstream = False

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Warm up; then read few streams and many."""
        check_pace(server, load)
        warm_up(server)
        chunks = 80 if load.quick else 120
        few = paced(server, FEW, chunks)
        many = paced(server, MANY, chunks)
        return {"ratio": many.cpu / few.cpu, "few": few.cpu, "many": many.cpu}


TASK = Growth()
