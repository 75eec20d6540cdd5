"""What is no proper HTTP/1.1 is refused, or taken for one request and never for two."""

from __future__ import annotations

import asyncio
import json
import random
import re
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from flowcore import BaseAsyncOp
from tests.servers import SERVER


class EchoOp(BaseAsyncOp):
    """Counts its runs."""

    runs = 0

    async def async_execute(self):
        type(self).runs += 1
        self.context.response.answer = self.context.get("say", "nothing")


FLOWS = {"echo": {"flow_content": "EchoOp()"}}
HEALTH = b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
SMUGGLED = b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n"
START = b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def server(serve):
    """A server that waits for a request for longer than any test does."""
    EchoOp.runs = 0
    async with serve(FLOWS, EchoOp, keep_alive_timeout=60, body_timeout=60) as running:
        yield running


@pytest.fixture
async def hasty(serve):
    """A server that soon waits no more."""
    EchoOp.runs = 0
    async with serve(FLOWS, EchoOp, keep_alive_timeout=0.4, body_timeout=0.4) as running:
        yield running


def check_problem(answer: bytes, status: int, code: str = "") -> dict[str, Any]:
    """Check that an answer is one problem and announces the end, and return its members."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:300]
    assert b"connection: close" in head.lower()
    assert b"content-type: application/problem+json" in head
    assert b"content-length: %d" % len(body) in head
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["code"] == (code or problem["code"])
    return problem


async def rest_of(connection: anyio.abc.SocketStream) -> bytes:
    """Return what comes until the server closes."""
    answer = b""
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            answer += await connection.receive()
    return answer


async def answers_to(server, splits: list[list[bytes]]) -> list[bytes]:
    """Send requests, each piece by piece and over a connection of its own."""
    answers: list[bytes] = []

    async def send(pieces: list[bytes]) -> None:
        async with await server.connect() as connection:
            with suppress(anyio.BrokenResourceError):
                for piece in filter(None, pieces):
                    await connection.send(piece)
                    await anyio.lowlevel.checkpoint()
            answers.append(await rest_of(connection))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for pieces in splits:
                tasks.start_soon(send, pieces)
    return answers


WEBSOCKET = (
    b"GET /echo HTTP/1.1\r\nHost: t\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
FAULTS: dict[str, tuple[bytes, int, str]] = {
    "no HTTP": (b"hello\r\n\r\n", 400, "bad_request"),
    "HTTP/0.9": (b"GET /health\r\n\r\n", 400, "bad_request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
    "control characters": (b"GET /\x1b[31m HTTP/1.1\r\nHost: t\r\n\r\n", 400, "bad_request"),
    "path beyond ASCII": (b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: t\r\n\r\n", 400, "bad_request"),
    "two spaces": (b"GET  /health HTTP/1.1\r\nHost: t\r\n\r\n", 400, "bad_request"),
    "no version": (b"GET /health HTTP\r\nHost: t\r\n\r\n", 400, "bad_request"),
    "HTTP/1.2": (b"GET /health HTTP/1.2\r\nHost: t\r\n\r\n", 505, "http_version_not_supported"),
    "HTTP/3.0": (b"GET /health HTTP/3.0\r\nHost: t\r\n\r\n", 505, "http_version_not_supported"),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400, "bad_host"),
    "two hosts": (b"GET /health HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n", 400, "bad_host"),
    "host with a path": (b"GET /health HTTP/1.1\r\nHost: t/x\r\n\r\n", 400, "bad_host"),
    "host with a user": (b"GET /health HTTP/1.1\r\nHost: u@t\r\n\r\n", 400, "bad_host"),
    "host beyond ASCII": (b"GET /health HTTP/1.1\r\nHost: caf\xe9\r\n\r\n", 400, "bad_host"),
    "no colon": (b"GET /health HTTP/1.1\r\nHost: t\r\nnonsense\r\n\r\n", 400, "bad_request"),
    "space before colon": (b"GET /health HTTP/1.1\r\nHost : t\r\n\r\n", 400, "bad_request"),
    "empty name": (b"GET /health HTTP/1.1\r\nHost: t\r\n: x\r\n\r\n", 400, "bad_request"),
    "NUL": (b"GET /health HTTP/1.1\r\nHost: t\r\nX: a\x00b\r\n\r\n", 400, "bad_request"),
    "bare CR": (b"GET /health HTTP/1.1\r\nHost: t\r\nX: a\rY: b\r\n\r\n", 400, "bad_request"),
    "LF at the end of a line": (b"GET /health HTTP/1.1\nHost: t\r\n\r\n", 400, "bad_request"),
    "only LF": (b"GET /health HTTP/1.1\nHost: t\n\n", 400, "bad_request"),
    "folded field": (
        b"GET /health HTTP/1.1\r\nHost: t\r\nX: a\r\n b\r\n\r\n",
        400,
        "bad_request",
    ),
    "field folded with a tab": (
        b"GET /health HTTP/1.1\r\nHost: t\r\nX: a\r\n\tb\r\n\r\n",
        400,
        "bad_request",
    ),
    "CONNECT": (b"CONNECT t:80 HTTP/1.1\r\nHost: t:80\r\n\r\n", 405, "method_not_allowed"),
    "small letters": (b"head /health HTTP/1.1\r\nHost: t\r\n\r\n", 501, "not_implemented"),
    "absolute form": (b"GET http://t/health HTTP/1.1\r\nHost: t\r\n\r\n", 400, "bad_request"),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n", 400, "bad_request"),
    "authority form": (b"GET t:80 HTTP/1.1\r\nHost: t\r\n\r\n", 400, "bad_request"),
    "WebSocket": (WEBSOCKET, 403, "websocket_refused"),
    "long URL": (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: t\r\n\r\n", 414, "uri_too_long"),
    "very long URL": (b"GET /" + b"a" * 300_000, 414, "uri_too_long"),
    "long header": (
        b"GET /health HTTP/1.1\r\nHost: t\r\nCookie: " + b"a" * 16_384 + b"\r\n\r\n",
        431,
        "headers_too_large",
    ),
    "endless header": (
        b"GET /health HTTP/1.1\r\nHost: t\r\nCookie: " + b"a" * 300_000,
        431,
        "headers_too_large",
    ),
    "100 headers": (
        b"GET /health HTTP/1.1\r\nHost: t\r\n" + b"a: b\r\n" * 100 + b"\r\n",
        431,
        "headers_too_large",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_malformed_request_gets_a_problem_and_the_connection_is_closed(
    server, caplog, fault
):
    request, status, code = FAULTS[fault]
    with anyio.fail_after(5):
        answer = await server.exchange(request)

    check_problem(answer, status, code)
    assert b"healthy" in await server.exchange(HEALTH)
    assert caplog.records == []


async def test_the_limits_of_headers_themselves_are_taken(server):
    for fields in (b"a: b\r\n" * 98, b"Cookie: " + b"a" * 16_000 + b"\r\n"):
        with anyio.fail_after(5):
            answer = await server.exchange(HEALTH[:-2] + fields + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")


NO_LINE = "The request is malformed: its first line is not a method, a target and a version."
NO_FIELD = "The request is malformed: a header field is not a name, a colon and a value."
NO_HOST = "Send exactly one header Host, such as Host: example.com."
TOLD = {
    **dict.fromkeys(("no HTTP", "HTTP/0.9", "two spaces", "no version"), NO_LINE),
    **dict.fromkeys(("no colon", "space before colon", "empty name", "NUL"), NO_FIELD),
    **dict.fromkeys(("no host", "two hosts", "host with a path"), NO_HOST),
}


@pytest.mark.parametrize("fault", TOLD)
async def test_every_server_tells_of_a_fault_in_the_same_words(server, fault):
    with anyio.fail_after(5):
        answer = await server.exchange(FAULTS[fault][0])

    assert check_problem(answer, 400)["detail"] == TOLD[fault]


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        (b"nonsense\r\n", NO_LINE),
        (b"GET / HTTP/1.1\r\nno Host:\r\nHost: t\r\n\r\n", NO_FIELD),
    ],
)
async def test_what_is_wrong_is_told_at_once_and_for_what_it_is(server, request_, detail):
    with anyio.fail_after(5):
        answer = await server.exchange(request_)

    assert check_problem(answer, 400, "bad_request")["detail"] == detail


async def test_a_wrong_version_is_told_even_if_more_is_wrong_below_it(server):
    with anyio.fail_after(5):
        answer = await server.exchange(b"GET /health HTTP/2.0\r\nno colon\r\n\r\n")

    check_problem(answer, 505, "http_version_not_supported")


async def test_a_method_that_nobody_knows_is_refused(server):
    with anyio.fail_after(5):
        answer = await server.exchange(HEALTH.replace(b"GET", b"BREW"))

    status = {"hypercorn": 405, "uvicorn": 501}[SERVER]
    check_problem(answer, status)


async def test_a_head_request_that_is_refused_has_no_body(server):
    with anyio.fail_after(5):
        answer = await server.exchange(b"HEAD * HTTP/1.1\r\nHost: t\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"\r\n\r\n")


async def test_a_malformed_request_does_not_cut_the_answer_before_it(server, post):
    with anyio.fail_after(5):
        answer = await server.exchange(post("/echo", b'{"say": "first"}') + b"nonsense\r\n\r\n")

    first, _, second = answer.partition(b"HTTP/1.1 400 ")
    assert b'"answer":"first"' in first
    check_problem(b"HTTP/1.1 400 " + second, 400)


async def test_what_follows_the_last_request_of_a_connection_is_ignored(server, post):
    with anyio.fail_after(5):
        answer = await server.exchange(post("/echo", b"{}", b"Connection: close") + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'"answer":"nothing","success":true,"metadata":{}}')


AMBIGUOUS: dict[str, tuple[bytes, bytes]] = {
    "both framings": (b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "both, other order": (b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", b"0\r\n\r\n"),
    "two codings": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", b"0\r\n\r\n"),
    "chunked twice": (b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    "chunked in two fields": (b"Transfer-Encoding: chunked\r\n" * 2, b"0\r\n\r\n"),
    "unknown coding": (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "gzip": (b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "identity": (b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n", b"{}"),
    "vertical tab": (b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "space before colon": (b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "two lengths": (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}"),
    "two lengths in one field": (b"Content-Length: 2, 3\r\n", b"{}"),
    "signed length": (b"Content-Length: +2\r\n", b"{}"),
    "negative length": (b"Content-Length: -2\r\n", b"{}"),
    "hexadecimal length": (b"Content-Length: 0x2\r\n", b"{}"),
    "underscored length": (b"Content-Length: 0_2\r\n", b"{}"),
    "huge length": (b"Content-Length: " + b"9" * 40 + b"\r\n", b"{}"),
    "folded coding": (b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "negative chunk": (b"Transfer-Encoding: chunked\r\n", b"-2\r\n{}\r\n0\r\n\r\n"),
    "chunk of 0x": (b"Transfer-Encoding: chunked\r\n", b"0x2\r\n{}\r\n0\r\n\r\n"),
    "chunk too short": (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}xx0\r\n\r\n"),
    "bare LF after a chunk size": (b"Transfer-Encoding: chunked\r\n", b"2\n{}\r\n0\r\n\r\n"),
    "bare LF after a chunk": (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\n0\r\n\r\n"),
    "huge chunk size": (b"Transfer-Encoding: chunked\r\n", b"1" * 40 + b"\r\n{}\r\n0\r\n\r\n"),
    "LF in an extension": (b"Transfer-Encoding: chunked\r\n", b"2;\nx\r\n{}\r\n0\r\n\r\n"),
    "LF for the last line": (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\n"),
    "LF after the last chunk": (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\n\r\n"),
    "LF in a body without content": (b"Transfer-Encoding: chunked\r\n", b"0\r\n\n"),
    "only LF": (b"Transfer-Encoding: chunked\r\n", b"2\n{}\n0\n\n"),
    "LF after a trailer": (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\nX: y\n\r\n"),
    "LF and LF after it": (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\nX: y\n\n"),
    "LF within trailers": (
        b"Transfer-Encoding: chunked\r\n",
        b"2\r\n{}\r\n0\r\nX: y\nZ: z\r\n\r\n",
    ),
    "CR for the last line": (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\r\n"),
    "CR within a trailer": (
        b"Transfer-Encoding: chunked\r\n",
        b"2\r\n{}\r\n0\r\nX: y\rZ: z\r\n\r\n",
    ),
    "folded trailer": (
        b"Transfer-Encoding: chunked\r\n",
        b"2\r\n{}\r\n0\r\nX: y\r\n z\r\n\r\n",
    ),
    "CR in an extension": (b"Transfer-Encoding: chunked\r\n", b"2;a\rb\r\n{}\r\n0\r\n\r\n"),
    "NUL in an extension": (b"Transfer-Encoding: chunked\r\n", b"2;a\0\r\n{}\r\n0\r\n\r\n"),
    "empty extension": (b"Transfer-Encoding: chunked\r\n", b"2;\r\n{}\r\n0\r\n\r\n"),
    "extension without end": (
        b"Transfer-Encoding: chunked\r\n",
        b'2;a="b\r\n{}\r\n0\r\n\r\n',
    ),
    "space after a chunk size": (b"Transfer-Encoding: chunked\r\n", b"2 \r\n{}\r\n0\r\n\r\n"),
    "space after a chunk extension": (
        b"Transfer-Encoding: chunked\r\n",
        b"2;a \r\n{}\r\n0\r\n\r\n",
    ),
    "space before no extension": (b"Transfer-Encoding: chunked\r\n", b"2 ;\r\n{}\r\n0\r\n\r\n"),
    "VT before an extension": (b"Transfer-Encoding: chunked\r\n", b"2\x0b;a\r\n{}\r\n0\r\n\r\n"),
    "long space before an extension": (
        b"Transfer-Encoding: chunked\r\n",
        b"2" + b" " * 70_000 + b";a\r\n{}\r\n0\r\n\r\n",
    ),
    "space before a chunk size": (b"Transfer-Encoding: chunked\r\n", b" 2\r\n{}\r\n0\r\n\r\n"),
    "no chunk size": (b"Transfer-Encoding: chunked\r\n", b"\r\n2\r\n{}\r\n0\r\n\r\n"),
    "long extension": (
        b"Transfer-Encoding: chunked\r\n",
        b"2;" + b"a" * 70_000 + b"\r\n{}\r\n0\r\n\r\n",
    ),
    "bad trailer": (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\nno colon\r\n\r\n"),
}


@pytest.mark.parametrize("fault", AMBIGUOUS)
async def test_a_body_with_an_unclear_end_is_refused_and_what_follows_is_not_answered(
    server, fault
):
    fields, body = AMBIGUOUS[fault]
    with anyio.fail_after(5):
        answer = await server.exchange(START + fields + b"\r\n" + body + SMUGGLED)

    problem = check_problem(answer, int(answer[9:12]))
    assert problem["status"] in {400, 501}
    if "length" in fault:
        assert "its Content-Length is not one whole number" in problem["detail"]
    if "chunk" in fault and problem["status"] == 400:
        assert "the end of its body is not clear" in problem["detail"]
    assert answer.count(b"HTTP/1.1") == 1
    assert b"healthy" not in answer
    assert EchoOp.runs == 0


BROKEN_CHUNKS = [
    kind
    for kind, (fields, body) in AMBIGUOUS.items()
    if fields == b"Transfer-Encoding: chunked\r\n" and len(body) < 50
]


@pytest.mark.parametrize("kind", BROKEN_CHUNKS)
async def test_a_fault_in_a_body_in_chunks_is_400_wherever_it_is_split(server, kind):
    fields, body = AMBIGUOUS[kind]
    head = START + fields + b"\r\n"
    whole = body + SMUGGLED
    splits = [[whole[:place], whole[place:]] for place in range(len(body) + 1)]
    splits.append([whole[place : place + 1] for place in range(len(whole))])

    answers = await answers_to(server, [[head, *pieces] for pieces in splits])

    assert len(answers) == len(splits)
    for answer in answers:
        check_problem(answer, 400, "bad_request")
        assert answer.count(b"HTTP/1.1") == 1
    assert EchoOp.runs == 0


async def test_too_many_fields_after_a_body_are_431(server):
    trailers = b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 3000 + b"\r\n"
    with anyio.fail_after(5):
        answer = await server.exchange(
            START + b"Transfer-Encoding: chunked\r\n\r\n" + trailers + SMUGGLED
        )

    check_problem(answer, 431, "headers_too_large")
    assert answer.count(b"HTTP/1.1") == 1


async def test_http_1_0_has_no_chunked_bodies(server):
    start = START.replace(b"HTTP/1.1", b"HTTP/1.0")
    with anyio.fail_after(5):
        answer = await server.exchange(
            start + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + SMUGGLED
        )

    check_problem(answer, 400, "bad_request")
    assert answer.count(b"HTTP/1.1") == 1


ONE_REQUEST: dict[str, tuple[bytes, bytes]] = {
    "the same length twice": (b"Content-Length: 15\r\n" * 2, b'{"say": "this"}'),
    "chunk extensions": (
        b"Transfer-Encoding: chunked\r\n",
        b'f;a="0"\r\n{"say": "this"}\r\n0\r\n\r\n',
    ),
    "space before extensions": (
        b"Transfer-Encoding: chunked\r\n",
        b'f \t;a="0" ;b\r\n{"say": "this"}\r\n0\t;c\r\n\r\n',
    ),
    "upper case": (b"TRANSFER-ENCODING: CHUNKED\r\n", b'F\r\n{"say": "this"}\r\n0\r\n\r\n'),
    "trailers": (
        b"Transfer-Encoding: chunked\r\n",
        b'f\r\n{"say": "this"}\r\n0\r\nContent-Length: 50\r\nX-Y: z\r\n\r\n',
    ),
    "many zeros": (b"Transfer-Encoding: chunked\r\n", b'000f\r\n{"say": "this"}\r\n000\r\n\r\n'),
    "a request as the body": (b"Content-Length: 15\r\nX: y\r\n", b'{"say": "this"}'),
}  # fmt: skip


REFUSED = {"hypercorn": set[str](), "uvicorn": {"the same length twice"}}
"""Which of them a server is strict about."""


@pytest.mark.parametrize("kind", ONE_REQUEST)
async def test_a_body_with_a_clear_end_is_one_request_and_what_follows_is_the_next(server, kind):
    fields, body = ONE_REQUEST[kind]
    with anyio.fail_after(5):
        answer = await server.exchange(START + fields + b"\r\n" + body + HEALTH)

    if kind in REFUSED[SERVER]:
        check_problem(answer, 400, "bad_request")
        assert EchoOp.runs == 0
        return
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answer)] == [200, 200]
    assert b'"answer":"this"' in answer
    assert b"healthy" in answer
    assert EchoOp.runs == 1


@pytest.mark.parametrize(
    "kind",
    ["chunk extensions", "space before extensions", "trailers", "a request as the body"],
)
async def test_what_follows_a_body_is_the_next_request_wherever_the_bytes_are_split(server, kind):
    fields, body = ONE_REQUEST[kind]
    whole = START + fields + b"\r\n" + body + HEALTH
    splits = [[whole[:place], whole[place:]] for place in range(len(START), len(whole))]
    splits.append([whole[place : place + 1] for place in range(len(whole))])

    answers = await answers_to(server, splits)

    assert len(answers) == len(splits)
    for answer in answers:
        assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"200"]
        assert b'"answer":"this"' in answer
        assert answer.endswith(b'{"status":"healthy"}')


async def test_a_head_that_does_not_end_is_408(hasty):
    with anyio.fail_after(5):
        answer = await hasty.exchange(b"GET /health HTTP/1.1\r\nHost: ")

    check_problem(answer, 408, "request_timeout")


async def test_bytes_that_trickle_in_do_not_prolong_the_time_for_a_head(hasty):
    async with await hasty.connect() as connection:
        await connection.send(b"GET /health HTTP/1.1\r\n")
        answer = b""
        with anyio.fail_after(5):
            while not answer:
                with anyio.move_on_after(0.05):
                    answer = await connection.receive()
                await connection.send(b"X: y\r\n")

    check_problem(answer, 408, "request_timeout")


async def test_a_silent_connection_is_closed_without_a_word(hasty):
    with anyio.fail_after(5):
        assert await hasty.exchange(b"") == b""


async def test_an_idle_connection_is_closed_without_a_word(hasty):
    with anyio.fail_after(5):
        answer = await hasty.exchange(SMUGGLED)

    assert answer.count(b"HTTP/1.1") == 1
    assert b"healthy" in answer


async def test_a_body_that_trickles_in_is_408(hasty):
    async with await hasty.connect() as connection:
        await connection.send(START + b"Content-Length: 1000\r\n\r\n")
        answer = b""
        with anyio.fail_after(5):
            while not answer:
                with anyio.move_on_after(0.05):
                    answer = await connection.receive()
                await connection.send(b" ")

    check_problem(answer, 408, "request_timeout")
    assert EchoOp.runs == 0


@pytest.mark.parametrize("request_", [START[:40], START + b"Content-Length: 1000\r\n\r\n{"])
async def test_a_request_that_is_cut_is_not_answered_and_starts_no_run(server, request_):
    async with await server.connect() as connection:
        await connection.send(request_)
        await connection.send_eof()
        with anyio.fail_after(5), pytest.raises(anyio.EndOfStream):
            await connection.receive()

    assert EchoOp.runs == 0


EXPECT = START + b"Expect: 100-continue\r\n"


async def test_a_client_that_asks_first_is_told_to_send_its_body(server):
    async with await server.connect() as connection:
        await connection.send(EXPECT + b"Connection: close\r\nContent-Length: 15\r\n\r\n")
        with anyio.fail_after(5):
            assert (await connection.receive()).startswith(b"HTTP/1.1 100 ")
            await connection.send(b'{"say": "this"}')
            answer = await connection.receive()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"answer":"this"' in answer


async def test_a_client_that_asks_first_and_sends_at_once_is_served_all_the_same(server):
    with anyio.fail_after(5):
        answer = await server.exchange(
            EXPECT + b'Connection: close\r\nContent-Length: 15\r\n\r\n{"say": "this"}'
        )

    assert re.fullmatch(rb"(HTTP/1.1 100 Continue\r\n\r\n)?HTTP/1.1 200 .*", answer, re.DOTALL)
    assert answer.count(b'"answer":"this"') == 1


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"/echo", b"/nowhere", 404),
        (b"POST", b"PUT", 405),
        (b"application/json", b"text/plain", 415),
        (b"Host: t", b"Host: t\r\nContent-Length: 99999999", 413),
        (b"Host: t", b"Host: t/t", 400),
    ],
)
async def test_a_client_that_asks_first_is_refused_at_once_and_not_told_to_send(
    server, old, new, status
):
    request = EXPECT.replace(old, new)
    if b"Content-Length" not in request:
        request += b"Content-Length: 100\r\n"
    with anyio.fail_after(5):
        answer = await server.exchange(request + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.lower().count(b"connection: close") == 1
    assert b" 100 " not in answer.partition(b"\r\n\r\n")[0]


async def test_a_client_of_http_1_0_is_not_told_to_send(server):
    start = EXPECT.replace(b"HTTP/1.1", b"HTTP/1.0")
    with anyio.fail_after(5):
        answer = await server.exchange(start + b"Content-Length: 2\r\n\r\n{}")

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_pipelined_requests_are_answered_in_their_order(server, post):
    names = [f"n{number}" for number in range(20)]
    requests = [post("/echo", b'{"say": "%s"}' % name.encode()) for name in names]
    with anyio.fail_after(5):
        answer = await server.exchange(b"".join(requests) + HEALTH)

    assert re.findall(rb'"answer":"(n\d+)"', answer) == [name.encode() for name in names]
    assert answer.endswith(b'{"status":"healthy"}')


async def test_a_request_may_come_in_pieces_of_any_size(server):
    body = b'5\r\n{"say\r\n7;x=y\r\n": "thi\r\n3\r\ns"}\r\n0\r\nX: y\r\n\r\n'
    request = START + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    for size in (1, 2, 3, 7, 50):
        async with await server.connect() as connection:
            for start in range(0, len(request), size):
                await connection.send(request[start : start + size])
                await anyio.lowlevel.checkpoint()
            with anyio.fail_after(5):
                answer = await rest_of(connection)
        assert b'"answer":"this"' in answer
    assert EchoOp.runs == 5


async def test_bytes_that_went_wrong_anyhow_get_an_answer_or_an_end_and_nothing_else(
    hasty, post, caplog
):
    draw = random.Random(7)
    requests = [request for request, _, _ in FAULTS.values() if len(request) < 1000]
    requests += [START + fields + b"\r\n" + body for fields, body in AMBIGUOUS.values()]
    requests += [START + fields + b"\r\n" + body for fields, body in ONE_REQUEST.values()]
    statuses: set[int] = set()

    async def try_one(request: bytes, *, leave: bool) -> None:
        async with await hasty.connect() as connection:
            await connection.send(request)
            if leave:
                await connection.send_eof()
            with anyio.fail_after(5):
                answer = await rest_of(connection)
        statuses.update(int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer))

    await hasty.exchange(HEALTH)
    tasks_before = len(asyncio.all_tasks())
    for _ in range(5):
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                request = spoil(draw.choice(requests) + draw.choice([b"", HEALTH]), draw)
                tasks.start_soon(partial(try_one, request, leave=number % 2 == 0))
    with anyio.fail_after(5):
        while len(asyncio.all_tasks()) > tasks_before:
            await anyio.sleep(0.02)

    assert statuses <= {100, 200, 400, 403, 404, 405, 408, 413, 414, 415, 422, 431, 501, 505}
    assert {200, 400, 501} <= statuses
    assert caplog.records == []


def spoil(request: bytes, draw: random.Random) -> bytes:
    """Return the request with up to three faults."""
    data = bytearray(request)
    for _ in range(draw.randrange(4)):
        place = draw.randrange(len(data))
        match draw.randrange(4):
            case 0:
                data[place] = draw.randrange(256)
            case 1:
                data[place:place] = draw.choice([b"\r\n", b"\n", b"\0", b" ", b":", b"0"])
            case 2:
                del data[place : place + draw.randrange(1, 9)]
            case _:
                data += data[place : place + 40]
    return bytes(data)
