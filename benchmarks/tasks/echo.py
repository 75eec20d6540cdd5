"""T4: an answer that is no stream."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.load import Load
from benchmarks.server import MeasurementError, Server
from benchmarks.task import Figure, Target

CONNECTIONS = 16


class Echo:
    """A small JSON answer to a small JSON question."""

    id = "T4"
    title = f"echo: a request and its answer, no stream, {CONNECTIONS} connections"
    figures = (
        Figure("rate", "throughput", "requests/s", "higher"),
        Figure("cpu", "server CPU", "us/request", "lower"),
    )
    reference = "fastapi"
    targets = (
        Target("rate", 1.3, of="flowllm"),
        Target("rate", of="fastapi", peer="flowcore_uvicorn"),
    )
    upstream = False

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Check one answer; then count answers."""
        request = server.peer.request("echo")
        answer = load.answer(server, request)
        if b'"what is ai"' not in answer:
            raise MeasurementError(f"another answer than expected: {answer[:500]!r}")
        load.wrk(server, request, connections=CONNECTIONS, seconds=1)
        seconds = 2 if load.quick else 5
        done = load.wrk(server, request, connections=CONNECTIONS, seconds=seconds)
        return {
            "rate": done.requests / done.seconds,
            "cpu": done.cpu_seconds / done.requests * 1e6,
            **done.busy(),
        }


TASK = Echo()
