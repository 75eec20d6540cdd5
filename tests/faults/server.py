"""The server of the suite: the command `flowcore` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.faults.client import SECONDS, Stream, Told, receive_all, until
from tests.servers import SERVER

PROJECT = Path(__file__).with_name("project")
COMMAND = str(Path(sys.executable).with_name("flowcore"))
CANARY = "sk-canary-5b1e77"
"""The key of the models; nothing that the server writes or answers may hold it."""


class Server:
    """A running server, and what can be seen of it from outside."""

    def __init__(
        self, process: subprocess.Popen[bytes], folder: Path, port: int, workers: int
    ) -> None:
        self.process = process
        self.port = port
        self.workers = workers
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "log"
        self._reports = folder / "reports"

    # --- what it does ---

    def post(
        self, flow: str, headers: Mapping[str, str] | None = None, **inputs: Any
    ) -> httpx.Response:
        """Call a flow and read its whole answer."""
        return httpx.post(
            f"{self.url}/{flow}",
            json=inputs,
            headers={"Connection": "close", **(headers or {})},
            timeout=2 * SECONDS,
        )

    def open(self, flow: str, **inputs: Any) -> Stream:
        """Call a flow and read its stream bit by bit."""
        return Stream(self.port, f"/{flow}", inputs)

    def resume(self, run_id: str, last_event_id: str | None = None) -> Stream:
        """Ask for the events of a run, those after ``last_event_id``."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        return Stream(self.port, f"/runs/{run_id}/events", None, headers)

    def run(self, flow: str, **inputs: Any) -> Told:
        """Call a flow and read its stream to the end."""
        with self.open(flow, **inputs) as stream:
            assert stream.response.status == 200, stream.response.read()
            return stream.told()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=2 * SECONDS)

    def exchange(self, request: bytes) -> bytes:
        """Send bytes, and return what comes until the server closes."""
        with self.connect() as sock:
            sock.sendall(request)
            return receive_all(sock)

    # --- what happened inside ---

    def log(self) -> str:
        """All that the server has written to stdout and stderr."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def reports(self, key: str, event: str = "", op: str = "") -> list[dict[str, Any]]:
        """What ops reported for a request; see ``project/fault_ops.py``."""
        if not self._reports.exists():
            return []
        lines = self._reports.read_bytes().split(b"\n")[:-1]
        found = [json.loads(line) for line in lines if not key or key.encode() in line]
        return [
            report
            for report in found
            if report["key"] == key
            and (not event or report["event"] == event)
            and (not op or report["op"] == op)
        ]

    def wait_for(self, key: str, event: str, within: float = SECONDS, count: int = 1) -> float:
        """Wait until ops have reported an event so many times; return when the last one was."""

        def found() -> list[dict[str, Any]]:
            reports = self.reports(key, event)
            return reports if len(reports) >= count else []

        what = f"{event!r} of {key}, reported: {[r['event'] for r in self.reports(key)]}"
        return until(found, within, what)[-1]["at"]

    def events(self, key: str, op: str = "") -> list[str]:
        """The events that ops reported for a request, in order."""
        return [report["event"] for report in self.reports(key, op=op)]

    def census(self) -> Counts:
        """Count what each process of the server holds."""
        counts: dict[int, dict[str, int]] = {}

        def all_counted() -> bool:
            count = self.post("census").json()["metadata"]
            counts[count["pid"]] = count
            return len(counts) == self.workers

        until(all_counted, what=f"a census of {self.workers} processes")
        return Counts(counts)

    def settle(self, baseline: Counts, within: float = SECONDS) -> None:
        """Wait until the server holds no more than before."""
        excess: dict[str, int] = {}

        def settled() -> bool:
            excess.clear()
            excess.update(self.census().beyond(baseline))
            return not excess

        try:
            until(settled, within)
        except AssertionError:
            raise AssertionError(f"the server holds more than before: {excess}") from None


class Counts(dict[int, dict[str, int]]):
    """What the processes hold, by process id."""

    def __init__(self, counts: Mapping[int, Mapping[str, int]]) -> None:
        super().__init__(
            {pid: {**count, "fds": _open_files(pid)} for pid, count in sorted(counts.items())}
        )

    def beyond(self, baseline: Counts) -> dict[str, int]:
        """How much more there is of what than there was."""
        # A connection or two may be about to close.
        spare = {"runs": 0, "tasks": 4, "fds": 4, "threads": 12}
        more = {
            what: sum(c[what] for c in self.values()) - sum(c[what] for c in baseline.values())
            for what in spare
        }
        return {what: number for what, number in more.items() if number > spare[what]}

    @property
    def resident_bytes(self) -> int:
        return sum(_resident_bytes(pid) for pid in self)


def new_key() -> str:
    """A key for one request, by which its reports and its upstream requests are found."""
    return f"key-{secrets.token_hex(8)}"


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """The environment of a server, clean of what the developer has set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FLOW")}
    reports = str(folder / "reports")
    return {**kept, "FAULTS_REPORTS": reports, "FAULTS_KEY": CANARY, **variables}


@contextmanager
def running(
    folder: Path, *settings: str, workers: int = 1, **variables: str
) -> Generator[Server, None, None]:
    """Run `flowcore config=faults SETTINGS` until the block is left."""
    arguments = ["http.port=0", f"http.server={SERVER}", *settings]
    if not any(setting.startswith("config=") for setting in settings):
        arguments.insert(0, "config=faults")
    if workers > 1:
        arguments.append(f"http.workers={workers}")
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [COMMAND, *arguments],
            cwd=PROJECT,
            env=environment(folder, **variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(process, folder, _announced_port(process, log), workers)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
            raise


def _announced_port(process: subprocess.Popen[bytes], log: Path) -> int:
    def announced() -> re.Match[str] | None:
        text = log.read_text(encoding="utf-8", errors="replace")
        assert process.poll() is None, f"the server did not start:\n{text}"
        return re.search(r"serving at http://\S+:(\d+)", text)

    return int(until(announced, 20, "the address of the server")[1])


def _open_files(pid: int) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return 0


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
