"""Streams at the pace of a model, for several tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Load, texts
from benchmarks.server import MeasurementError, Server

ROOT = Path(__file__).parent.parent
INTERVAL = 0.05
"""Seconds between two chunks of a stream."""

MOST_SECONDS = 120.0
CLIENT_LIMIT = 0.9
"""Above this share of its core, the client itself is what was measured."""


@dataclass(frozen=True)
class Paced:
    """What the client saw, and what it cost the server.

    Attributes:
        cpu: CPU time of the server for each chunk, requests included, in microseconds.
        latency: Percentiles of the latency of chunks while all streams were open, in ms.
        first: Percentiles from the request to its first chunk, in ms.
        lost: Chunks that did not come.
        broken: Streams that did not end as they should.
    """

    cpu: float
    latency: dict[str, float]
    first: dict[str, float]
    lost: int
    broken: int


def check_pace(server: Server, load: Load) -> None:
    """Look at one stream.

    Raises:
        MeasurementError: It has not the chunks that were asked for.
    """
    body = load.answer(server, server.peer.request("pace", n=3, interval=0.01))
    found = texts(body)
    if len(found) != 3 or any(len(text.partition(".")[2]) != 6 for text in found):
        raise MeasurementError(f"not three chunks with the time: {body[:500]!r}")


def warm_up(server: Server) -> None:
    """Let the server do once what will be measured."""
    paced(server, 50, 40, opening=0.2)


def paced(server: Server, streams: int, chunks: int, opening: float = 1.0) -> Paced:
    """Read paced streams with a client in a process of its own.

    Args:
        server: What is asked.
        streams: How many streams at a time.
        chunks: How many chunks each has, 20 a second.
        opening: Seconds within which the streams are opened.

    Raises:
        MeasurementError: The client failed, was too busy, or got no chunks at all.
    """
    request = server.peer.request("pace", n=chunks, interval=INTERVAL)
    numbers = {
        "port": server.port,
        "streams": streams,
        "chunks": chunks,
        "interval": INTERVAL,
        "opening": opening,
    }
    options = [f"--{name}={value}" for name, value in numbers.items()]
    options += [f"--path={request.path}", f"--body={request.body.decode()}"]
    before = server.cpu_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.paced_client", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
        check=False,
    )
    cpu = server.cpu_seconds() - before
    if done.returncode:
        raise MeasurementError(f"the client failed: {done.stderr[-1000:]}")
    seen: dict[str, Any] = json.loads(done.stdout)
    if seen["client_busy"] > CLIENT_LIMIT:
        raise MeasurementError(f"the client was too busy: {done.stdout}")
    if not seen["latency_ms"]:
        raise MeasurementError(f"hardly any chunks came: {done.stdout} {server.log()}")
    return Paced(
        cpu / seen["chunks"] * 1e6,
        seen["latency_ms"],
        seen["first_chunk_ms"],
        seen["lost"],
        sum(seen["faults"].values()),
    )
