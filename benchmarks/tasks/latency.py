"""T2a: how long a chunk is on its way."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.load import Load
from benchmarks.paced import check_pace, paced, warm_up
from benchmarks.server import MeasurementError, Server
from benchmarks.task import Figure, Target

STREAMS = 500


class Latency:
    """Streams at the pace of a model, with a server that has time."""

    id = "T2a"
    title = f"paced: {STREAMS} streams x 20 chunks/s"
    figures = (
        Figure("p99", "one-way latency p99", "ms", "lower"),
        Figure("p50", "p50", "ms", "lower"),
        Figure("cpu", "server CPU", "us/chunk", "lower"),
    )
    reference = "raw_hypercorn"
    targets = (Target("p99", of="raw_hypercorn", plus=1.0),)
    upstream = False

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Check one stream, warm up; then time the chunks of many."""
        check_pace(server, load)
        warm_up(server)
        seen = paced(server, STREAMS, 100 if load.quick else 160)
        if seen.lost or seen.broken:
            raise MeasurementError(f"{seen.lost} chunks lost, {seen.broken} streams broken")
        return {"p99": seen.latency["p99"], "p50": seen.latency["p50"], "cpu": seen.cpu}


TASK = Latency()
