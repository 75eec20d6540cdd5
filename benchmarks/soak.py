"""Many clients that behave as they like, at a server whose upstream fails at random, for long.

``python -m benchmarks.soak --minutes 10 --streams 200`` starts the server and the upstream in
processes of their own on 127.0.0.1, watches what the server holds, and exits with 1 if a stream
told anything but the truth, or if anything is held at the end that was not at the beginning. It
reads ``/proc``, so it needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.soak_clients import Client, Notes
from benchmarks.soak_exchange import ask

PROJECT = Path(__file__).with_name("soak_project")
ROOT = Path(__file__).parent.parent
COMMAND = str(Path(sys.executable).with_name("flowcore"))
MAX_SLOPE = 0.5
"""Growth of the resident memory in the second half that counts as none, in MB a minute."""

SLOPE_MINUTES = 5.0
"""Shorter runs tell nothing about growth: pools and caches still fill."""

SPARE_CONNECTIONS = 16
SETTLE_SECONDS = 20.0
_EXPECTED = re.compile(
    r"run [0-9a-f]+ of flow '\w+' failed \(error id [0-9a-f]+\): model 'soak' at "
)


@dataclass(frozen=True)
class Sample:
    """What the processes of the server held at one time.

    Attributes:
        seconds: Seconds since the clients began.
        resident: Resident memory, in MB.
        files: Open file descriptors.
        threads: Threads.
        connections: Open connections of clients.
        running: Runs in progress.
    """

    seconds: float
    resident: float
    files: int
    threads: int
    connections: int
    running: int


class Server:
    """The server under test, seen from outside.

    Args:
        process: Its first process.
        port: Its port.
        key: The key that it asks for.
        workers: How many processes serve.

    Attributes:
        began: When the clients began, on the monotonic clock.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, key: str, workers: int) -> None:
        self.process = process
        self.port = port
        self.key = key
        self._workers = workers
        self.began = time.monotonic()

    async def sample(self) -> Sample:
        """Look at all processes."""
        pids = [self.process.pid, *_children(self.process.pid)]
        metrics = await self.metrics()
        return Sample(
            time.monotonic() - self.began,
            sum(_resident_bytes(pid) for pid in pids) / 1e6,
            sum(_count(f"/proc/{pid}/fd") for pid in pids),
            sum(_count(f"/proc/{pid}/task") for pid in pids),
            int(metrics["flowcore_http_open_connections"]),
            int(metrics["flowcore_runs_running"]),
        )

    async def metrics(self) -> Counter[str]:
        """Return the metrics by name, all labels together."""
        _, text = await ask(self.port, self.key, "GET", "/metrics")
        values: Counter[str] = Counter()
        for line in text.decode().splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name.partition("{")[0]] += float(value)  # pyright: ignore[reportArgumentType]
        return values

    async def census(self) -> Counter[str]:
        """Count what the serving processes hold, all together."""
        counts: dict[int, Counter[str]] = {}
        while len(counts) < self._workers:
            _, answer = await ask(self.port, self.key, "POST", "/census", {})
            about = json.loads(answer)["metadata"]
            counts[about.pop("pid")] = Counter(about)
        return sum(counts.values(), Counter[str]())


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text(encoding="ascii").split()]


def _count(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def processes(arguments: argparse.Namespace, folder: Path) -> Generator[tuple[Server, int]]:
    """Start the upstream and the server; yield the server and the upstream's port."""
    upstream = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.soak_upstream"], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert upstream.stdout is not None
    try:
        port: int = json.loads(upstream.stdout.readline())["port"]
        key = secrets.token_hex(16)
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLOW")},
            "SOAK_KEY": key,
            "SOAK_UPSTREAM": f"http://127.0.0.1:{port}/v1",
            "SOAK_CONNECTIONS": str(arguments.streams + SPARE_CONNECTIONS),
            "FLOWCORE_LOG_FORMAT": "json",
        }
        workers = [f"http.workers={arguments.workers}"] if arguments.workers > 1 else []
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [COMMAND, "config=soak", "http.port=0", *workers],
                cwd=PROJECT,
                env=variables,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            served_at = _announced_port(process, folder / "log")
            yield Server(process, served_at, key, arguments.workers), port
        finally:
            process.kill()
            process.wait()
    finally:
        upstream.kill()
        upstream.wait()


def _announced_port(process: subprocess.Popen[bytes], log: Path) -> int:
    give_up = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < give_up:
        text = log.read_text(encoding="utf-8")
        if found := re.search(r"serving at http://\S+:(\d+)", text):
            return int(found[1])
        time.sleep(0.05)
    sys.exit(f"the server did not start:\n{log.read_text(encoding='utf-8')}")


def slope(samples: Sequence[Sample]) -> float:
    """Return the growth of the resident memory in the second half, in MB a minute."""
    half = samples[len(samples) // 2 :]
    times = [sample.seconds / 60 for sample in half]
    sizes = [sample.resident for sample in half]
    time_mean, size_mean = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((time - time_mean) ** 2 for time in times)
    pairs = zip(times, sizes, strict=True)
    return sum((time - time_mean) * (size - size_mean) for time, size in pairs) / spread


async def upstream_counts(port: int) -> dict[str, int]:
    """Ask the upstream what it still answers."""
    _, answer = await ask(port, "none", "POST", "/v1/chat/completions", {"model": "count"})
    return json.loads(answer)


async def settled(server: Server, upstream: int, before: Counter[str], files: int) -> list[str]:
    """Wait until the server holds what it held before; return what it holds too much of."""
    give_up = time.monotonic() + SETTLE_SECONDS
    while True:
        metrics, now, at_upstream = (
            await server.metrics(),
            await server.census(),
            await upstream_counts(upstream),
        )
        sample = await server.sample()
        counts = {
            # The one that asks is counted.
            "requests in progress": int(metrics["flowcore_http_open_requests"]) - 1,
            "connections of clients": sample.connections - 1,
            "runs": sample.running,
            "asyncio tasks": now["tasks"] - before["tasks"],
            "places of threads": now["places"],
            # Idle threads of the pools stay.
            "threads": now["threads"] - before["threads"] - 16,
            "requests at the upstream": at_upstream["answering"],
            # Idle connections to the upstream stay.
            "files": sample.files - files - at_upstream["connections"] - 2,
        }
        held = [f"{number} {what} too many" for what, number in counts.items() if number > 0]
        if not held or time.monotonic() > give_up:
            return held
        await asyncio.sleep(0.5)


async def all_slots_free(server: Server, connections: int) -> list[str]:
    """Use all connections that the server may have to its upstream at once."""
    questions = [{"key": f"good:{number}:40"} for number in range(connections)]
    answers = await asyncio.gather(
        *(ask(server.port, server.key, "POST", "/ask_whole", body) for body in questions)
    )
    failed = sum(status != 200 for status, _ in answers)
    return [f"{failed} connections to the upstream are lost"] if failed else []


def log_faults(log: Path) -> tuple[list[str], Counter[str]]:
    """Return the lines of a log that should not be there, and how many each level has."""
    faults: list[str] = []
    levels: Counter[str] = Counter()
    for line in log.read_text(encoding="utf-8").splitlines():
        if line.startswith("flowcore: "):
            continue
        try:
            record: dict[str, Any] = json.loads(line)
        except ValueError:
            faults.append(f"in the log: {line}")
            continue
        levels[record["level"]] += 1
        if record["level"] in {"ERROR", "CRITICAL"} and not _EXPECTED.match(record["message"]):
            faults.append(f"in the log: {line}")
    return faults, levels


async def soak(server: Server, upstream: int, arguments: argparse.Namespace) -> Notes:
    """Let the clients do what they like; print a table; return what was found."""
    notes = Notes()
    for flow in ("ask", "ask_patient", "ask_threads", "ask_whole"):
        await ask(server.port, server.key, "POST", f"/{flow}", {"key": "good:1:3"})
    before = await server.census()
    at_first = await server.sample()
    files = at_first.files - (await upstream_counts(upstream))["connections"]
    seconds = arguments.minutes * 60
    server.began = time.monotonic()
    end = server.began + seconds
    print(f"seed {arguments.seed}, {arguments.streams} clients, {seconds:g} s", flush=True)
    rows = "{:>8} {:>8} {:>6} {:>8} {:>12} {:>8}"
    print(rows.format("seconds", "RSS MB", "files", "threads", "connections", "runs"))
    samples: list[Sample] = []
    seeds = random.Random(arguments.seed)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(arguments.streams):
            client = Client(server.port, server.key, str(seeds.random()), notes)
            tasks.create_task(client.visit_until(end))
        every = max(1, round(seconds / 20))
        while time.monotonic() < end:
            samples.append(await server.sample())
            if len(samples) % every == 1 or every == 1:
                s = samples[-1]
                cells = (s.files, s.threads, s.connections, s.running)
                print(rows.format(f"{s.seconds:.0f}", f"{s.resident:.1f}", *cells), flush=True)
            await asyncio.sleep(1)
    notes.faults += await settled(server, upstream, before, files)
    # Each process has as many.
    if arguments.workers == 1:
        notes.faults += await all_slots_free(server, arguments.streams + SPARE_CONNECTIONS)
    notes.faults += await settled(server, upstream, before, files)
    growth = slope(samples)
    at_end = await server.sample()
    metrics = await server.metrics()
    print(
        f"memory: {at_first.resident:.1f} MB at first, {at_end.resident:.1f} MB at the end, "
        f"{growth:+.2f} MB a minute in the second half"
    )
    print("visits:", ", ".join(f"{name} {count}" for name, count in sorted(notes.done.items())))
    print(
        f"runs: {metrics['flowcore_runs_started_total']:.0f}, "
        f"cancelled {metrics['flowcore_runs_cancelled_total']:.0f}, "
        f"abandoned {metrics['flowcore_runs_abandoned_total']:.0f}, "
        f"chunks {metrics['flowcore_chunks_total']:.0f}, "
        f"event loop blocked {metrics['flowcore_event_loop_stalls_total']:.0f} times"
    )
    if arguments.minutes >= SLOPE_MINUTES and growth > MAX_SLOPE:
        notes.wrong(f"memory grew by {growth:.2f} MB a minute")
    return notes


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=200, help="how many clients")
    parser.add_argument("--workers", type=int, default=1, help="how many server processes")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak") as name:
        folder = Path(name)
        with processes(arguments, folder) as (server, upstream):
            notes = asyncio.run(soak(server, upstream, arguments))
            server.process.send_signal(signal.SIGTERM)
            code = server.process.wait(30)
            notes.expect(code == 0, f"the server exited with {code}")
        faults, levels = log_faults(folder / "log")
        print("log:", dict(levels))
    faults = [*notes.faults, *faults]
    for fault in faults[:30]:
        print("WRONG:", fault[:800])
    print(f"{len(faults)} faults" if faults else "all well")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
