"""Clients that leave, stall, crawl, or speak an old dialect."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import pytest

from tests.faults.client import (
    RESET_ON_CLOSE,
    Stream,
    Told,
    receive_all,
    until,
)
from tests.faults.conftest import Start
from tests.faults.models import Models
from tests.faults.server import Server, new_key
from tests.tries import is_within

LEAVE = [Stream.leave, Stream.reset, Stream.half_close]
Leave = Callable[[Stream], None]


def post(path: str, body: bytes, *headers: bytes, version: bytes = b"1.1") -> bytes:
    lines = [
        b"POST %s HTTP/%s" % (path.encode(), version),
        b"Host: test",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


# --- clients that leave ---


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("flow", ["quiet", "silent"])
def test_a_client_that_leaves_a_quiet_stream_cancels_its_op_within_a_second(
    server: Server, key: str, leave: Leave, flow: str
):
    mark = len(server.log())

    def seconds(own: str) -> float:
        with server.open(flow, key=own) as stream:
            server.wait_for(own, "started")
            if flow == "quiet":
                stream.chunk()
            left = time.monotonic()
            leave(stream)
            cancelled = server.wait_for(own, "cancelled")
            server.wait_for(own, "ended")
        assert server.events(own) == ["started", "cancelled", "ended"]
        return cancelled - left

    assert is_within(1, seconds, key)
    assert "Traceback" not in server.log()[mark:]


@pytest.mark.parametrize("leave", LEAVE)
def test_a_client_that_leaves_closes_the_request_to_the_model_within_a_second(
    server: Server, models: Models, key: str, leave: Leave
):
    def seconds(own: str) -> float:
        with server.open("ask", key=own, model="hang-mid-stream") as stream:
            stream.chunk()
            left = time.monotonic()
            leave(stream)
            return until(lambda: models.requests(own)[0].gone_at, what="the end") - left

    assert is_within(1, seconds, key)


@pytest.mark.parametrize("leave", LEAVE)
def test_a_client_that_leaves_while_the_model_thinks_closes_the_request_to_the_model(
    server: Server, models: Models, key: str, leave: Leave
):
    def seconds(own: str) -> float:
        with server.open("ask", key=own, model="hang-before-headers") as stream:
            until(lambda: models.requests(own))
            left = time.monotonic()
            leave(stream)
            return until(lambda: models.requests(own)[0].gone_at, what="the end") - left

    assert is_within(1, seconds, key)


def test_all_branches_and_steps_are_cancelled_and_cleaned_up_once(server: Server, key: str):
    with server.open("quiet_branches", key=key):
        server.wait_for(key, "started", count=3)
    server.wait_for(key, "ended", count=3)
    events = [report["event"] for report in server.reports(key)]
    assert sorted(events) == sorted(["started", "cancelled", "ended"] * 3)


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_a_flow_without_a_stream_cancels_its_op(
    server: Server, key: str, reset: bool
):
    def seconds(own: str) -> float:
        with server.connect() as sock:
            sock.sendall(post("/silent_whole", json.dumps({"key": own}).encode()))
            server.wait_for(own, "started")
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            left = time.monotonic()
        cancelled = server.wait_for(own, "cancelled")
        server.wait_for(own, "ended")
        assert server.events(own) == ["started", "cancelled", "ended"]
        return cancelled - left

    assert is_within(1, seconds, key)


@pytest.mark.parametrize("sent", [0, 1, 5])
def test_a_client_that_leaves_during_its_upload_starts_nothing(server: Server, key: str, sent: int):
    baseline = server.census()
    body = json.dumps({"key": key}).encode()
    with server.connect() as sock:
        sock.sendall(post("/quiet", body)[: -len(body)] + body[:sent])
    server.settle(baseline)
    assert server.events(key) == []


def test_a_client_that_leaves_at_once_leaves_nothing_behind(server: Server, key: str):
    baseline = server.census()
    body = json.dumps({"key": key}).encode()
    for _ in range(20):
        with server.connect() as sock:
            sock.sendall(post("/quiet", body))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    server.settle(baseline)
    started = len(server.reports(key, "started"))
    assert len(server.reports(key, "ended")) == started


def test_a_client_that_pipelined_a_byte_is_missed_within_two_heartbeats(server: Server, key: str):
    def seconds(own: str) -> float:
        with server.open("quiet", key=own) as stream:
            stream.chunk()
            stream.sock.sendall(b"G")
            # Now the server has bytes to read and may not notice that the connection ends.
            left = time.monotonic()
            stream.leave()
            cancelled = server.wait_for(own, "cancelled")
        server.wait_for(own, "ended")
        return cancelled - left

    assert is_within(2 * 0.2 + 0.6, seconds, key)


def test_a_client_that_leaves_during_a_cleanup_does_not_disturb_it(server: Server, key: str):
    with server.open("cleanup", key=key, cleanup=0.5) as stream:
        stream.chunk()
        stream.reset()
        server.wait_for(key, "cleaning")
    server.wait_for(key, "ended")
    assert server.events(key) == ["started", "cleaning", "cleaned", "cancelled", "ended"]


def test_500_clients_that_connect_and_drop_leave_nothing_behind(server: Server, key: str):
    server.run("echo", texts=["warm"])
    baseline = server.census()
    body = json.dumps({"key": key}).encode()
    began = time.monotonic()
    for number in range(500):
        with server.connect() as sock:
            if number % 2:
                sock.sendall(post("/quiet", body)[: number % 200])
            if number % 3:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    assert time.monotonic() - began < 30
    server.settle(baseline)
    grown = server.census().resident_bytes - baseline.resident_bytes
    assert grown < 30_000_000


@pytest.mark.parametrize("asked", [True, False])
def test_an_idle_connection_that_its_client_closes_is_closed_at_once(start: Start, asked: bool):
    with start("http.keep_alive_timeout=60") as server:
        server.run("echo", texts=["warm"])
        baseline = server.census()
        sockets = [server.connect() for _ in range(20)]
        for sock in sockets:
            if asked:
                sock.sendall(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
                assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        for sock in sockets:
            sock.close()
        server.settle(baseline)


# --- clients that are slow ---


def test_a_slow_reader_suspends_the_op_and_gets_everything_in_order(server: Server, key: str):
    count, size = 2000, 2000
    before = server.census().resident_bytes
    with Stream(
        server.port, "/count", {"key": key, "count": count, "size": size}, receive_buffer=4096
    ) as stream:
        # While nothing is read, the op comes to a halt.
        server.wait_for(key, "emitted")
        time.sleep(0.3)
        emitted = server.reports(key, "emitted")[-1]["number"]
        assert emitted < count / 2
        assert server.census().resident_bytes - before < 20_000_000
        told = stream.told()
    assert [int(text.split()[0]) for text in told.of("answer")] == list(range(count))
    assert (told.done, told.code) == (True, "")


def test_a_stalled_reader_is_disconnected_and_its_op_cancelled(server: Server, key: str):
    baseline = server.census()
    with Stream(server.port, "/spin", {"key": key}, receive_buffer=4096):
        began = time.monotonic()
        # write_timeout is two seconds; the kernel looks now and then.
        assert server.wait_for(key, "cancelled") - began < 10
    server.wait_for(key, "ended")
    server.settle(baseline)


def test_300_idle_streams_at_once_all_get_heartbeats(server: Server):
    keys = [new_key() for _ in range(300)]
    baseline = server.census()
    streams = [server.open("silent", key=key) for key in keys]
    try:
        for _ in range(3):
            for stream in streams:
                block = stream.block()
                assert block is not None
                assert block.startswith((b":", b"id:"))
    finally:
        for stream in streams:
            stream.leave()
    server.settle(baseline)


# --- heartbeats ---


def test_heartbeats_stand_between_events_and_never_after_the_end_mark(server: Server, key: str):
    told = server.run("trickle", key=key, count=12, pause=0.15)
    slow = server.run("trickle", key=key, count=3, pause=0.59)
    assert told.text == "".join(f"{n} " for n in range(12))
    assert slow.text == "0 1 2 "
    assert slow.comments >= 6
    assert told.done
    assert slow.done


# --- methods and old dialects ---


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH"])
def test_other_methods_on_a_flow_are_405_and_start_nothing(server: Server, key: str, method: bytes):
    body = json.dumps({"key": key}).encode()
    request = post("/quiet", body, b"Connection: close").replace(b"POST", method, 1)
    head = server.exchange(request).partition(b"\r\n\r\n")[0].lower()
    assert b" 405 " in head.split(b"\r\n")[0]
    assert b"\r\nallow: options, post" in head
    assert server.events(key) == []


def test_a_preflight_is_answered_without_running_anything(server: Server):
    answer = server.exchange(
        b"OPTIONS /quiet HTTP/1.1\r\nHost: test\r\nOrigin: https://page.example\r\n"
        b"Access-Control-Request-Method: POST\r\n"
        b"Access-Control-Request-Headers: content-type, last-event-id\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert answer.split(b"\r\n")[0].split()[1] in {b"200", b"204"}
    assert b"access-control-allow-origin: *" in answer.lower()
    assert not [r for r in server.reports("", "started") if r["op"] == "quiet_op"]


def test_an_http_1_0_client_gets_a_stream_with_its_end_mark(server: Server, key: str):
    answer = server.exchange(post("/echo", b'{"texts": ["a", "b"]}', version=b"1.0"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body.endswith(b"data:[DONE]\n\n")
    told = Told([block for block in body.split(b"\n\n") if block])
    assert told.of("answer") == ["a", "b"]


def test_expect_100_continue_is_honoured(server: Server):
    body = b'{"texts": ["a"]}'
    request = post("/echo", body, b"Expect: 100-continue", b"Connection: close")
    with server.connect() as sock:
        sock.sendall(request[: -len(body)])
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        assert receive_all(sock).endswith(b"data:[DONE]\n\n\r\n0\r\n\r\n")


def test_expect_100_continue_is_refused_early_where_the_body_is_too_large(server: Server):
    head = (
        b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        b"Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n"
    )
    with server.connect() as sock:
        sock.sendall(head)
        answer = receive_all(sock)
    assert answer.startswith(b"HTTP/1.1 413 ")
