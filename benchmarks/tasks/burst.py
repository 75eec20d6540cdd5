"""T1: 1,000 chunks at once."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.load import Load, expect_chunks
from benchmarks.server import Server
from benchmarks.task import Figure, Target

CHUNKS = 1000
CONNECTIONS = 4


class Burst:
    """A stream whose chunks are all ready at once."""

    id = "T1"
    title = "burst: 1,000 chunks at once, 4 connections"
    figures = (
        Figure("rate", "throughput", "chunks/s", "higher"),
        Figure("cpu", "server CPU", "us/chunk", "lower"),
    )
    reference = "fastapi"
    targets = (Target("rate", 5, of="fastapi"),)
    upstream = False

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Check one stream; then count streams."""
        request = server.peer.request("burst")
        expect_chunks(server, load.answer(server, request), [f"word {n} " for n in range(CHUNKS)])
        load.wrk(server, request, connections=CONNECTIONS, seconds=1)
        seconds = 2 if load.quick else 5
        done = load.wrk(server, request, connections=CONNECTIONS, seconds=seconds)
        chunks = done.requests * CHUNKS
        return {
            "rate": chunks / done.seconds,
            "cpu": done.cpu_seconds / chunks * 1e6,
            **done.busy(),
        }


TASK = Burst()
