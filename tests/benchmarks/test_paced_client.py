"""The client for paced streams tells whole streams from others."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import pytest
from benchmarks.paced_client import PacedClient, percentiles
from benchmarks.sockets import encoded

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def piece(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def stamped(*seconds):
    return b"".join(piece(b'data: {"chunk": "%.6f"}\n\n' % each) for each in seconds)


@contextmanager
def answering(*parts):
    """Answer each request with these bytes, sent one by one, and close the connection."""

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.recv(65536)
                for part in parts:
                    connection.sendall(part)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def read(port, streams=1, chunks=2):
    client = PacedClient(port, encoded("/pace", b"{}"), streams, chunks, 0.05, 0.01)
    client.run()
    return client.report()


def test_streams_are_whole_however_their_bytes_arrive():
    whole = HEAD + stamped(1.5, 2.5) + piece(DONE) + END

    for parts in ([whole], [whole[n : n + 1] for n in range(len(whole))]):
        with answering(*parts) as port:
            report = read(port, streams=3)

        assert (report["chunks"], report["lost"], report["faults"]) == (6, 0, {})


def test_the_latency_is_counted_from_the_time_in_the_chunk(monkeypatch):
    monkeypatch.setattr("benchmarks.paced_client.WARM_SECONDS", -1.0)
    now = time.monotonic()

    with answering(HEAD + stamped(now - 90, now - 30) + piece(DONE) + END) as port:
        latency = read(port)["latency_ms"]

    assert 30_000 <= latency["p50"] < 90_000 <= latency["max"]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (HEAD + stamped(1, 2), "cut"),
        (HEAD + stamped(1) + piece(DONE) + END, "1 chunks"),
        (HEAD + stamped(1, 2, 3) + piece(DONE) + END, "3 chunks"),
        (HEAD + stamped(1, 2) + END, "no end mark"),
        (HEAD + stamped(2, 1) + piece(DONE) + END, "out of order"),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", "status 503"),
    ],
)
def test_a_stream_that_is_not_whole_is_told(answer, fault):
    with answering(answer) as port:
        report = read(port)

    assert report["faults"] == {fault: 1}


def test_a_server_that_is_not_there_is_told():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        report = read(unused.getsockname()[1], streams=2)

    assert report["faults"] == {"ConnectionRefusedError": 2}
    assert report["lost"] == 4


def test_percentiles_are_in_milliseconds():
    assert percentiles([0.001 * n for n in range(101)])["p99"] == pytest.approx(99)
    assert percentiles([]) == {}
