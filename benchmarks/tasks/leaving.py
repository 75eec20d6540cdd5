"""T9: what is left in the server when the tool of the load is killed halfway."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load import Load
from benchmarks.paced import INTERVAL, ROOT, check_pace
from benchmarks.server import MeasurementError, Server
from benchmarks.task import Figure, Target

KILLED_AFTER = 1.5
"""Seconds of the load before it is killed; it would last twice as long."""

SETTLE_SECONDS = 15.0
STREAMS = 300
CONNECTIONS = 4
_RUNNING = 'flowcore_runs_running{flow="'
_CONNECTIONS = "flowcore_http_open_connections"
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = %s
"""


class Leaving:
    """The load of T1 to T4, dropped: its connections end while runs are in progress."""

    id = "T9"
    title = "leaving: what is left when the load of T1 to T4 is killed halfway"
    figures = (
        Figure("runs", "runs", "left", "lower"),
        Figure("connections", "connections", "left", "lower"),
        Figure("tasks", "tasks", "left", "lower"),
        Figure("files", "files", "left", "lower"),
        Figure("seconds", "until nothing is left", "s", "lower"),
    )
    reference = "flowcore"
    targets = tuple(Target(name, 0) for name in ("runs", "connections", "tasks", "files"))
    upstream = True

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Look at what a used server holds, and after each load that was killed again."""
        check_pace(server, load)
        for endpoint in ("burst", "relay", "echo"):
            request = server.peer.request(endpoint)
            load.wrk(server, request, connections=CONNECTIONS, seconds=2)
        time.sleep(1)
        before = census(server, load)
        worst = Counter[str]()
        longest = 0.0
        for endpoint in ("burst", "pace", "relay", "echo"):
            with TemporaryDirectory() as folder:
                self._drop(server, endpoint, Path(folder))
            began = time.monotonic()
            while left := census(server, load) - before:
                if time.monotonic() > began + SETTLE_SECONDS:
                    break
                time.sleep(0.05)
            longest = max(longest, time.monotonic() - began)
            worst |= left
        return {**{name: worst[name] for name in before}, "seconds": longest}

    def _drop(self, server: Server, endpoint: str, folder: Path) -> None:
        process = subprocess.Popen(
            self._command(server, endpoint, folder),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            time.sleep(KILLED_AFTER)
            if process.poll() is not None:
                raise MeasurementError(f"the load of {endpoint!r} ended by itself: {server.log()}")
            if endpoint == "pace" and census_of_metrics(server)["runs"] < STREAMS / 2:
                raise MeasurementError(f"not even half of {STREAMS} streams ran")
        finally:
            process.kill()
            process.wait()

    def _command(self, server: Server, endpoint: str, folder: Path) -> list[str]:
        if endpoint == "pace":
            chunks = int(2 * KILLED_AFTER / INTERVAL)
            options = {"port": server.port, "streams": STREAMS, "chunks": chunks, "opening": 0.5}
            module = [sys.executable, "-m", "benchmarks.paced_client"]
            return [*module, *(f"--{name}={value}" for name, value in options.items())]
        program = shutil.which("wrk")
        if program is None:
            raise MeasurementError("wrk is missing; on Debian: apt-get install wrk")
        request = server.peer.request(endpoint)
        script = folder / "request.lua"
        script.write_text(_SCRIPT % json.dumps(request.body.decode()), encoding="utf-8")
        url = f"http://127.0.0.1:{server.port}{request.path}"
        seconds = f"-d{2 * KILLED_AFTER:.0f}s"
        return [program, "-t1", f"-c{CONNECTIONS}", seconds, "-s", str(script), url]


def census(server: Server, load: Load) -> Counter[str]:
    """Count what the server holds while nobody is connected but who asks."""
    about = json.loads(load.answer(server, server.peer.request("census")))["metadata"]
    counts = census_of_metrics(server)
    # How many idle connections a pool keeps depends on how the requests met.
    return Counter(tasks=about["tasks"], files=server.open_files() - about["pool"], **counts)


def census_of_metrics(server: Server) -> Mapping[str, int]:
    """Read how many runs and connections there are, besides the one that asks."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    runs = sum(float(value) for name, _, value in pairs if name.startswith(_RUNNING))
    connections = sum(float(value) for name, _, value in pairs if name == _CONNECTIONS)
    return {"runs": int(runs), "connections": int(connections)}


TASK = Leaving()
