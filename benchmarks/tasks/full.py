"""T2b: a server whose core is nearly full."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.load import Load
from benchmarks.paced import check_pace, paced, warm_up
from benchmarks.server import Server
from benchmarks.task import Figure, Target

STREAMS = 1000


class Full:
    """Many streams at the pace of a model, opened within a second."""

    id = "T2b"
    title = f"full: {STREAMS:,} streams x 20 chunks/s, opened within a second"
    figures = (
        Figure("cpu", "server CPU", "us/chunk", "lower"),
        Figure("first", "first chunk p99", "ms", "lower"),
        Figure("p99", "one-way latency p99", "ms", "lower"),
        Figure("lost", "lost", "chunks", "lower"),
        Figure("broken", "broken", "streams", "lower"),
    )
    reference = "raw_hypercorn"
    targets = (
        Target("cpu", 1.2, of="raw_hypercorn"),
        Target("first", 1.2, of="raw_hypercorn"),
        Target("cpu", of="fastapi", peer="flowcore_uvicorn"),
        Target("first", of="fastapi", peer="flowcore_uvicorn"),
        Target("lost", 0),
        Target("broken", 0),
    )
    upstream = False
    streams = STREAMS

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Check one stream, warm up; then read many."""
        check_pace(server, load)
        warm_up(server)
        seen = paced(server, self.streams, 80 if load.quick else 120)
        return {
            "cpu": seen.cpu,
            "first": seen.first["p99"],
            "p99": seen.latency["p99"],
            "lost": seen.lost,
            "broken": seen.broken,
        }


TASK = Full()
