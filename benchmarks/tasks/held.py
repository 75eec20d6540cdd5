"""T6: what an open stream takes while nothing is said."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack

from benchmarks.load import Load
from benchmarks.server import Server
from benchmarks.sockets import ask, is_open, read_until
from benchmarks.task import Figure, Target

FEW = 1_000
MANY = 10_000


class Held:
    """Many streams that have begun and then wait."""

    id = "T6"
    title = f"held: {MANY:,} open streams, quiet after their first chunk"
    figures = (
        Figure("memory", "private memory", "kB/stream", "lower"),
        Figure("held", "held", "streams", "higher"),
    )
    reference = "fastapi"
    targets = (Target("memory", 20), Target("held", MANY))
    upstream = False

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:  # noqa: ARG002
        """Open streams, and see what those after the first thousand added."""
        with ExitStack() as stack:
            socks: list[socket.socket] = []
            self._open(server, FEW, socks, stack)
            before = server.private_bytes()
            self._open(server, MANY - FEW, socks, stack)
            after = server.private_bytes()
            held = sum(map(is_open, socks))
        added = len(socks) - FEW
        return {"memory": (after - before) / added / 1000, "held": held}

    def _open(
        self, server: Server, number: int, socks: list[socket.socket], stack: ExitStack
    ) -> None:
        request = server.peer.request("hold")
        for _ in range(number):
            sock = stack.enter_context(ask(server, request))
            read_until(sock, b"hello")
            socks.append(sock)


TASK = Held()
