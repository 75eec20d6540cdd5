"""T7: a reader that stops reading."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks.load import Load
from benchmarks.server import Server
from benchmarks.sockets import ask, read_until
from benchmarks.task import Figure, Target

CHUNKS = 200_000
CHUNK_BYTES = 1_000
STALL_SECONDS = 8.0


class Stalled:
    """An op that emits 200 MB to somebody who takes none of it."""

    id = "T7"
    title = f"stalled: a reader that stops while {CHUNKS * CHUNK_BYTES // 10**6} MB are emitted"
    figures = (Figure("growth", "growth of the resident memory", "MB", "lower"),)
    reference = "fastapi"
    targets = (Target("growth", 4),)
    upstream = False

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Read a small flood to its end; then leave a big one unread."""
        small = server.peer.request("flood", n=2_000, size=CHUNK_BYTES)
        for _ in range(3):
            with ask(server, small) as sock:
                read_until(sock, b"[DONE]")
        time.sleep(0.5)
        before = most = server.resident_bytes()
        with ask(server, server.peer.request("flood", n=CHUNKS, size=CHUNK_BYTES)) as sock:
            read_until(sock, b"0" * CHUNK_BYTES)
            end = time.monotonic() + (3 if load.quick else STALL_SECONDS)
            while time.monotonic() < end:
                time.sleep(0.1)
                most = max(most, server.resident_bytes())
        return {"growth": (most - before) / 1e6}


TASK = Stalled()
