"""T3: a model's answer, handed on."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.load import Load, expect_chunks
from benchmarks.server import Server
from benchmarks.task import Figure, Target
from benchmarks.upstream import DELTAS

CONNECTIONS = 4


class Relay:
    """A stream of what an OpenAI-compatible upstream says, which says all at once."""

    id = "T3"
    title = f"relay: 1,000 deltas of an upstream that waits for nothing, {CONNECTIONS} connections"
    figures = (
        Figure("rate", "throughput", "chunks/s", "higher"),
        Figure("cpu", "server CPU", "us/chunk", "lower"),
    )
    reference = "fastapi_openai"
    targets = (Target("rate", 8, of="fastapi_openai"),)
    upstream = True

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Check one stream; then count streams."""
        request = server.peer.request("relay")
        expect_chunks(server, load.answer(server, request), DELTAS)
        load.wrk(server, request, connections=CONNECTIONS, seconds=2)
        seconds = 4 if load.quick else 8
        done = load.wrk(server, request, connections=CONNECTIONS, seconds=seconds)
        chunks = done.requests * len(DELTAS)
        return {
            "rate": chunks / done.seconds,
            "cpu": done.cpu_seconds / chunks * 1e6,
            **done.busy(),
        }


TASK = Relay()
