"""Many paced streams, read by one process on raw sockets, with the latency of each chunk.

Each chunk is to carry the sender's ``time.monotonic()`` as a string with six decimals. On Linux
that clock is one for all processes, so what has passed when a chunk is read is its latency on the
way. Nothing else of it is parsed: that keeps this process far from being what is measured, at
40,000 chunks a second on its core; how busy it was is told.

``python benchmarks/paced_client.py --port 8000 --path /pace --streams 1000`` prints a line of
JSON. Needs epoll, so Linux.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import select
import socket
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.sockets import encoded, raise_file_limit

WARM_SECONDS = 1.0
"""What is left out of the steady latency after the last stream was opened."""

SILENCE_SECONDS = 20.0
"""After so long without any byte, streams that are open count as broken."""

_STAMP = re.compile(rb'"([0-9]+\.[0-9]{6})"')
_READ_BYTES = 65536


class PacedStream:
    """One request, and what is known of its answer."""

    __slots__ = ("chunks", "fault", "is_connected", "last", "saw_end", "sent_at", "sock", "tail")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.is_connected = False
        self.sent_at = 0.0
        self.chunks = 0
        self.last = b""
        self.tail = b""
        self.saw_end = False
        self.fault = ""


class PacedClient:
    """Opens streams evenly over some time, and reads them to their ends.

    Args:
        port: Where, on 127.0.0.1.
        request: What is sent on each connection.
        streams: How many.
        chunks: How many chunks each is to have.
        interval: Seconds between them.
        opening: Seconds within which the streams are opened.
    """

    def __init__(
        self, port: int, request: bytes, streams: int, chunks: int, interval: float, opening: float
    ) -> None:
        self._address = ("127.0.0.1", port)
        self._request = request
        self._streams = streams
        self._chunks = chunks
        self._interval = interval
        self._opening = opening
        self._poll = select.epoll()
        self._open: dict[int, PacedStream] = {}
        self._ended: list[PacedStream] = []
        self._first_chunks = array("d")
        self._read_at = array("d")
        self._latencies = array("d")
        self._began = self._opened = self._finished = self._cpu = 0.0

    def run(self) -> None:
        """Read all streams until they have ended, or nothing comes any more."""
        before = time.process_time()
        self._began = heard = time.monotonic()
        begun = 0
        while self._open or begun < self._streams:
            now = time.monotonic()
            due = self._due(now)
            for _ in range(begun, due):
                self._connect()
            begun = due
            if begun == self._streams:
                self._opened = self._opened or now
            ready = self._poll.poll(1.0 if self._opened else self._opening / self._streams, 256)
            if ready:
                heard = now
                for number, _ in ready:
                    self._proceed(number)
            elif now > heard + SILENCE_SECONDS:
                break
        for stream in list(self._open.values()):
            self._end(stream, "silent")
        self._finished = time.monotonic()
        self._cpu = time.process_time() - before

    def _due(self, now: float) -> int:
        if now >= self._began + self._opening:
            return self._streams
        return 1 + int((now - self._began) / self._opening * (self._streams - 1))

    def _connect(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(self._address)
        self._open[sock.fileno()] = PacedStream(sock)
        self._poll.register(sock.fileno(), select.EPOLLOUT)

    def _proceed(self, number: int) -> None:
        stream = self._open[number]
        try:
            if stream.is_connected:
                self._read(stream, stream.sock.recv(_READ_BYTES), time.monotonic())
            else:
                stream.sock.send(self._request)
                stream.sent_at = time.monotonic()
                stream.is_connected = True
                self._poll.modify(number, select.EPOLLIN)
        except OSError as error:
            self._end(stream, type(error).__name__)

    def _read(self, stream: PacedStream, data: bytes, now: float) -> None:
        if not data:
            self._end(stream, "" if stream.saw_end else "cut")
            return
        if not stream.chunks and data.startswith(b"HTTP/1.1") and data[9:12] != b"200":
            stream.fault = f"status {data[9:12].decode('latin-1')}"
        if stream.tail:
            data = stream.tail + data
        for stamp in _STAMP.findall(data):
            if not stream.chunks:
                self._first_chunks.append(now - stream.sent_at)
            if stamp < stream.last:
                stream.fault = "out of order"
            stream.last = stamp
            stream.chunks += 1
            self._latencies.append(now - float(stamp))
            self._read_at.append(now)
        if b"[DONE]" in data:
            stream.saw_end = True
        # The last chunk of the transfer encoding; the connection itself may stay open.
        if data[-5:] == b"0\r\n\r\n":
            self._end(stream, "" if stream.saw_end else "no end mark")
            return
        stream.tail = b"" if data[-1] == 10 else _unfinished(data, stream.last)

    def _end(self, stream: PacedStream, fault: str) -> None:
        stream.fault = stream.fault or fault
        if not stream.fault and stream.chunks != self._chunks:
            stream.fault = f"{stream.chunks} chunks"
        del self._open[stream.sock.fileno()]
        stream.sock.close()
        self._ended.append(stream)

    def report(self) -> dict[str, Any]:
        """Return the figures; latencies are those while all streams were open."""
        begin = self._opened + WARM_SECONDS
        end = self._began + self._chunks * self._interval
        pairs = zip(self._read_at, self._latencies, strict=True)
        steady = sorted(latency for at, latency in pairs if begin <= at <= end)
        received = len(self._latencies)
        seconds = self._finished - self._began
        return {
            "streams": self._streams,
            "chunks": received,
            "lost": self._streams * self._chunks - received,
            "faults": Counter(stream.fault for stream in self._ended if stream.fault),
            "seconds": seconds,
            "latency_ms": percentiles(steady),
            "first_chunk_ms": percentiles(sorted(self._first_chunks)),
            "client_busy": self._cpu / seconds,
        }


def _unfinished(data: bytes, last: bytes) -> bytes:
    """Return the line that is not whole, to be looked at together with its rest."""
    line = data[data.rfind(b"\n") + 1 :]
    # A stamp in it was seen already.
    return line.rpartition(last + b'"')[2] if last else line


def percentiles(ordered: Sequence[float]) -> dict[str, float]:
    """Return some percentiles of ordered seconds, in milliseconds."""
    if not ordered:
        return {}
    last = len(ordered) - 1
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {name: ordered[round(last * share)] * 1e3 for name, share in shares.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/pace")
    parser.add_argument("--body", default="", help='JSON; if not given, {"n":…, "interval":…}')
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--chunks", type=int, default=160, help="that each stream will have")
    parser.add_argument("--interval", type=float, default=0.05, help="seconds between chunks")
    parser.add_argument("--opening", type=float, default=1.0, help="seconds to open all streams")
    options = parser.parse_args()
    raise_file_limit()
    body = options.body or json.dumps({"n": options.chunks, "interval": options.interval})
    client = PacedClient(
        options.port,
        encoded(options.path, body.encode()),
        options.streams,
        options.chunks,
        options.interval,
        options.opening,
    )
    gc.disable()
    client.run()
    print(json.dumps(client.report()))


if __name__ == "__main__":
    main()
