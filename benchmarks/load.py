"""The load, and the one answer that is looked at before anything is measured."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from benchmarks.cores import Cores
from benchmarks.peer import Request
from benchmarks.server import MeasurementError, Server

ANSWER_SECONDS = 30.0
ATTEMPTS = 3
UNDISTURBED = 0.85
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "*/*"
wrk.body = %s
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\nDONE {"requests": %%d, "seconds": %%.6f, "bytes": %%d, "errors": '
    .. '{"connect": %%d, "read": %%d, "write": %%d, "status": %%d, "timeout": %%d}}\\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
"""


@dataclass(frozen=True)
class Wrk:
    """What wrk counted.

    Attributes:
        requests: Complete answers.
        seconds: For how long.
        cpu_seconds: CPU time of the server meanwhile.
        load_cpu_seconds: CPU time of wrk. Where neither this nor the server's is near ``seconds``,
            something else was busy on the machine.
    """

    requests: int
    seconds: float
    cpu_seconds: float
    load_cpu_seconds: float

    @property
    def disturbed(self) -> bool:
        """Whether neither the server nor the load had its core nearly all the time."""
        return max(self.cpu_seconds, self.load_cpu_seconds) < UNDISTURBED * self.seconds

    def busy(self) -> dict[str, float]:
        """Return how much of a core the server and the load each had, from 0 to 1."""
        return {
            "server_busy": self.cpu_seconds / self.seconds,
            "load_busy": self.load_cpu_seconds / self.seconds,
            "disturbed": float(self.disturbed),
        }


@dataclass(frozen=True)
class Load:
    """How much load, and where it runs.

    Attributes:
        cores: The cores of servers and load.
        quick: Whether a rough figure will do, in a fraction of the time.
    """

    cores: Cores
    quick: bool = False

    def wrk(self, server: Server, request: Request, *, connections: int, seconds: float) -> Wrk:
        """Let wrk send one request again and again.

        Raises:
            MeasurementError: wrk is missing, or counted an error of any kind.
        """
        program = shutil.which("wrk")
        if program is None:
            raise MeasurementError("wrk is missing; on Debian: apt-get install wrk")
        with TemporaryDirectory() as folder:
            script = Path(folder, "request.lua")
            script.write_text(_SCRIPT % json.dumps(request.body.decode()), encoding="utf-8")
            url = f"http://127.0.0.1:{server.port}{request.path}"
            options = ("-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s")
            before, load_before = server.cpu_seconds(), _children_cpu_seconds()
            done = subprocess.run(
                [program, *options, "-s", str(script), url],
                capture_output=True,
                text=True,
                timeout=seconds + 60,
                check=False,
            )
            cpu = server.cpu_seconds() - before
            load_cpu = _children_cpu_seconds() - load_before
        marked = [line for line in done.stdout.splitlines() if line.startswith("DONE ")]
        if not marked:
            raise MeasurementError(f"wrk failed: {done.stdout}{done.stderr}")
        counted = json.loads(marked[0].removeprefix("DONE "))
        if any(counted["errors"].values()) or not counted["requests"]:
            raise MeasurementError(f"wrk counted errors: {counted}; the server: {server.log()}")
        return Wrk(counted["requests"], counted["seconds"], cpu, load_cpu)

    def throughput(
        self, server: Server, request: Request, *, connections: int, seconds: float
    ) -> Wrk:
        """Warm a server up; then let wrk send one request again and again.

        With enough connections, either the server or wrk has its core all the time. Where neither
        had, something else did: then this is done again, up to twice, and what counts is the
        attempt in which the server had the largest share of its core.

        Raises:
            MeasurementError: wrk is missing, or counted an error of any kind.
        """
        self.wrk(server, request, connections=connections, seconds=1)
        tries: list[Wrk] = []
        while len(tries) < ATTEMPTS and all(each.disturbed for each in tries):
            tries.append(self.wrk(server, request, connections=connections, seconds=seconds))
        return max(tries, key=lambda each: each.cpu_seconds / each.seconds)

    def answer(self, server: Server, request: Request) -> bytes:
        """Send one request and return the whole body of its answer.

        Raises:
            MeasurementError: The status is not 200, or the answer is cut.
        """
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=ANSWER_SECONDS)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", request.path, request.body, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise MeasurementError(f"no whole answer: {error!r}; {server.log()}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise MeasurementError(f"status {response.status}: {body[:500]!r}; {server.log()}")
        return body


def _children_cpu_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def texts(body: bytes) -> list[str]:
    """Return the text of each chunk in a stream of events, in order.

    Events without text (an end, metadata, a delta with nothing but a role) are left out.
    """
    found: list[str] = []
    for line in body.decode().replace("\r\n", "\n").split("\n"):
        if not line.startswith("data:") or line.removeprefix("data:").strip() == "[DONE]":
            continue
        data: Any = json.loads(line.removeprefix("data:"))
        if isinstance(data, dict):
            chunk = cast("dict[str, Any]", data)
            if chunk.get("chunk_type") == "answer" and chunk["chunk"]:
                found.append(chunk["chunk"])
    return found


def expect_chunks(server: Server, body: bytes, expected: list[str]) -> None:
    """Check that a stream held these chunks and no others.

    Raises:
        MeasurementError: It did not.
    """
    if server.peer.format == "text":
        if body.decode() != "".join(expected):
            raise MeasurementError(f"another text than expected: {body[:500]!r}")
        return
    got = texts(body)
    if got != expected:
        raise MeasurementError(
            f"{len(got)} chunks, not {len(expected)} as expected: {body[:500]!r}"
        )
