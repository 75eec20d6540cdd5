"""T8b: what one more op in a flow costs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from benchmarks.load import Load
from benchmarks.server import Server
from benchmarks.task import Figure, Target

CONNECTIONS = 16
MORE = 10


class Ops:
    """Flows of one op and of eleven, asked in turn."""

    id = "T8b"
    title = "one more op in a flow, for each run"
    figures = (
        Figure("op", "server CPU for one more op", "us/run", "lower"),
        Figure("one", "for a flow of one op", "us/run", "lower"),
    )
    reference = "flowllm"
    targets = (Target("op", 10),)
    upstream = False

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Take the median of some turns."""
        turns = range(2 if load.quick else 5)
        pairs = [(self._cpu(server, load, "one"), self._cpu(server, load, "eleven")) for _ in turns]
        return {
            "op": statistics.median(eleven - one for one, eleven in pairs) / MORE,
            "one": statistics.median(one for one, _ in pairs),
        }

    def _cpu(self, server: Server, load: Load, endpoint: str) -> float:
        request = server.peer.request(endpoint)
        done = load.wrk(server, request, connections=CONNECTIONS, seconds=1)
        return done.cpu_seconds / done.requests * 1e6


TASK = Ops()
