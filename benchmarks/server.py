"""A peer's server in a process of its own."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cores import Cores
from benchmarks.peer import Peer

START_SECONDS = 90.0
STOP_SECONDS = 10.0


class MeasurementError(Exception):
    """A peer cannot be measured; the text says why."""


class Server:
    """A server that runs.

    Attributes:
        peer: What serves.
        python: The Python of its environment.
        port: Its port on 127.0.0.1.
        process: Its first process.
        seconds_to_health: From the command to the first healthy answer, in seconds.
    """

    def __init__(
        self, peer: Peer, python: Path, port: int, process: subprocess.Popen[bytes], log: Path
    ) -> None:
        self.peer = peer
        self.python = python
        self.port = port
        self.process = process
        self.seconds_to_health = 0.0
        self._log = log

    def cpu_seconds(self) -> float:
        """Return the CPU time of its processes so far, user and system (Linux only)."""
        ticks = os.sysconf("SC_CLK_TCK")
        return sum(sum(_stat(pid)[11:13]) for pid in self._pids()) / ticks

    def resident_bytes(self) -> int:
        """Return the resident memory of its processes (Linux only)."""
        page = os.sysconf("SC_PAGE_SIZE")
        return sum(_stat(pid)[21] * page for pid in self._pids())

    def private_bytes(self) -> int:
        """Return the memory that its processes have each for themselves (Linux only)."""
        lines = [
            line
            for pid in self._pids()
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        ]
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))

    def open_files(self) -> int:
        """Return how many files and sockets its processes have open (Linux only)."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self._pids())

    def log(self) -> str:
        """Return the end of what it printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def wait_for_health(self, began: float) -> None:
        """Wait for the first healthy answer.

        Args:
            began: When the command was started, by ``time.perf_counter``.

        Raises:
            MeasurementError: It ended instead, or took too long.
        """
        while not self._healthy():
            if self.process.poll() is not None:
                raise MeasurementError(f"the server ended: {self.log()}")
            if time.perf_counter() - began > START_SECONDS:
                raise MeasurementError(f"no healthy answer in {START_SECONDS} s: {self.log()}")
            time.sleep(0.005)
        self.seconds_to_health = time.perf_counter() - began

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self.peer.health)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _pids(self) -> list[int]:
        pids = [self.process.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text(encoding="ascii").split())
        return pids


def _stat(pid: int) -> list[int]:
    """Return the fields of ``/proc/PID/stat`` from the fourth (the parent's pid) on, from 0."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return [0, *map(int, text.rpartition(")")[2].split()[1:])]


@contextmanager
def running(
    peer: Peer, python: Path, cores: Cores, variables: Mapping[str, str]
) -> Generator[Server]:
    """Start a peer's server, wait until it answers, and end it.

    Args:
        peer: What to start.
        python: The Python of its environment.
        cores: Where it runs.
        variables: Environment variables that it gets beside those of this process.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FLOW")}
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder, "server.log")
        port = _free_port()
        with log.open("wb") as output, cores.on(cores.server):
            began = time.perf_counter()
            # -P: scripts are named like the packages that they import.
            process = subprocess.Popen(
                [str(python), "-P", str(peer.script), str(port)],
                cwd=folder,
                env={**kept, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            with cores.on(cores.load):
                server = Server(peer, python, port, process, log)
                server.wait_for_health(began)
                yield server
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    children = _children(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(child) for child in text.split()]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
