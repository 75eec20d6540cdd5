"""Whatever a client sends, the service answers it as HTTP says, soon, and goes on."""

from __future__ import annotations

import contextlib
import io
import json
import math
import socket
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, cast
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from .conftest import Service

FLOWS = {b"say", b"count"}


@dataclass
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Received(io.BytesIO):
    def makefile(self, _: str) -> io.BytesIO:
        return self


def exchange(service: Service, request: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes and return what comes until the server closes, which it has to do soon."""
    received = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(request)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(65536):
                received += data
    return received


def parsed(received: bytes, method: str = "POST") -> Answer:
    """Check that this is a response, and what every fault has to look like."""
    response = HTTPResponse(cast("socket.socket", _Received(received)), method=method)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    try:
        body = response.read()
    except IncompleteRead as cut:
        # A client that closes its sending side has left, and only what streams is cut by that.
        assert headers["content-type"] == "text/event-stream"
        body = cut.partial
    answer = Answer(response.status, headers, body)
    assert answer.status < 500 or answer.status in {501, 505}
    if answer.status >= 400 and method != "HEAD":
        assert headers["content-type"] == "application/problem+json"
        problem = json.loads(answer.body)
        assert problem["status"] == answer.status
        assert problem["detail"]
        assert problem["code"]
    return answer


def request_of(
    body: bytes = b'{"name": "x"}',
    *headers: bytes,
    method: bytes = b"POST",
    target: bytes = b"/count",
    content_type: bytes = b"application/json",
) -> bytes:
    lines = [
        method + b" " + target + b" HTTP/1.1",
        b"Host: 127.0.0.1",
        b"Connection: close",
        b"Content-Type: " + content_type,
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join([*lines, b"", b""]) + body


# --- bodies

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values),
    max_leaves=6,
)
inputs = st.fixed_dictionaries(
    {"name": st.text(max_size=5) | st.text(max_size=5) | json_values},
    optional={
        "number": st.integers() | json_values,
        "list": st.lists(st.floats(allow_nan=False), max_size=3) | json_values,
        "object": st.fixed_dictionaries({}, optional={"flag": st.booleans() | json_values}),
        "other": json_values,
    },
)
FRAGMENTS = [
    b'{"name": "x"}', b'{"name": ', b'"name"', b"{", b"}", b"[", b"]", b":", b",", b'"', b"'", b"x",
    b"\\", b"\\u", b'"\\ud800"', b'"\\ud83d\\ude00"', b"\xff", b"\xfe", b"\xef\xbb\xbf", b"\0",
    b"\xed\xa0\x80", b"\xe2\x80\xa8", b"null", b"true", b"NaN", b"Infinity", b"-Infinity", b"1e999",
    b"-1e999", b"1e-999", b"01", b"+1", b".5", b"5.", b"-", b"0x1", b"1_0", b"9" * 4301, b"9" * 400,
    b"1" + b"0" * 308 + b".0", b" ", b"\n", b"\x0b", b"\x1f", b"//", b"/**/", b"\xc2\x85",
]  # fmt: skip
bodies = (
    inputs.map(lambda value: json.dumps(value).encode())
    | inputs.map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=2), max_size=8).map(b"".join)
    | st.sampled_from(FRAGMENTS).map(lambda part: b'{"name": "x", "other": %s}' % part)
    | st.sampled_from(FRAGMENTS).map(lambda part: b'{"name": "x%s"}' % part)
)


def expected_statuses(body: bytes) -> set[int]:
    """Return how Python's own parser would have the request answered."""

    def refuse(text: str) -> float:
        raise ValueError(text)

    def finite(text: str) -> float:
        return refuse(text) if math.isinf(float(text)) else float(text)

    try:
        value: Any = json.loads(body.decode(), parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError):
        return {400}
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return {400}
    if not isinstance(value, dict):
        return {422}
    return {200} if set(value) == {"name"} and isinstance(value["name"], str) else {200, 422}


@given(body=bodies)
@example(body=b"")
@example(body=b'{"name": "x"}'.decode().encode("utf-16"))
@example(body=b"[" * 100_000)
@example(body=b'{"a":' * 100_000)
@example(body=b'{"name": "x", "other": ' + b"[" * 150 + b"]" * 150 + b"}")
@example(body=b'{"name": "x", "other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
@example(body=b'{"name": "' + b"x" * 9_000_000 + b'"}')
@example(body=b'{"name": "x"' + b', "name": "y"' * 10_000 + b"}")
@example(body=b'{"name": "x", "other": ' + b"9" * 5000 + b"}")
@example(body=b'{"name": "x", "other": -1' + b"0" * 400 + b"}")
def test_a_body_is_taken_as_json_or_refused(service: Service, body: bytes) -> None:
    answer = parsed(exchange(service, request_of(body)))

    assert answer.status in expected_statuses(body)
    if answer.status == 200:
        assert json.loads(answer.body)["answer"] == str(len(json.loads(body)["name"]))


CONTENT_TYPES = [
    b"application/json", b"application/json; charset=utf-8", b'application/json;charset="UTF-8"',
    b"application/json; charset=latin-1", b"application/json; charset=", b"application/json;", b"",
    b"text/plain", b"APPLICATION/JSON", b"application/x+json", b"application/", b"/", b"*/*",
    b"json", b"application/json, text/html", b"multipart/form-data; boundary=x", b"\xff", b'"',
    b";;;=", b"application/json; charset*=utf-8''utf-8", b"application/json\x0b", b"a" * 5000,
]  # fmt: skip


@given(content_type=st.sampled_from(CONTENT_TYPES) | st.binary(max_size=8), body=bodies)
def test_a_content_type_is_json_or_refused(
    service: Service, content_type: bytes, body: bytes
) -> None:
    request = request_of(body, content_type=content_type)
    answer = parsed(exchange(service, request))

    if content_type == b"application/json":
        assert answer.status in expected_statuses(body)
    else:
        assert answer.status in {400, 415, *expected_statuses(body)}


# --- headers

NAMES = [
    b"Host", b"Content-Length", b"Transfer-Encoding", b"Expect", b"Connection", b"Upgrade",
    b"Cookie", b"HTTP2-Settings", b"Last-Event-ID", b"Accept", b"Accept-Encoding", b"Authorization",
    b"Origin", b"Access-Control-Request-Method", b"Access-Control-Request-Headers",
    b"Content-Encoding", b"TE", b"Content-Type", b"Range", b"If-None-Match", b"If-Modified-Since",
    b"Forwarded", b"X-Request-Id", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host",
    b"X-HTTP-Method-Override", b"Date", b"Trailer", b"Via", b"User-Agent", b"Referer",
    b"Proxy-Authorization", b"traceparent", b"Max-Forwards", b"Sec-WebSocket-Key",
    b"Sec-WebSocket-Version", b"Keep-Alive", b"Content-Range", b"Prefer", b"X",
]  # fmt: skip
VALUES = [
    b"", b"0", b"13", b"-1", b"+13", b"13, 13", b"1e1", b"0x0d", b"\xd9\xa1\xd9\xa3", b"9" * 30,
    b"close", b"keep-alive", b"chunked", b"identity", b"gzip, chunked", b"chunked, chunked",
    b"xchunked", b"h2c", b"websocket", b"Upgrade", b"100-continue", b"*", b"null", b"x" * 2000,
    b"\xff\xfe", b"a=b; c=d", b"bytes=0-", b"Bearer x", b"Basic =", b"Basic \xff", b"Digest a=,",
    b"http://evil.example", b"evil.example:99999", b"[::1", b"a\tb", b"a,b,,", b'"',
    b"=?utf-8?b?eA==?=", b"for=\"[", b"q=x", b"a;q=1e9", b"W/\"", b"deadbeef-1",
    b"Thu, 99 Foo 2026 25:61:61 GMT", b"0" * 32 + b"-0", b"0" * 32 + b"-" + b"9" * 5000, b"../..",
    b"%0d%0aX: y",
]  # fmt: skip
headers = st.lists(
    st.builds(
        b"%b: %b".__mod__,
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(VALUES) | st.text(max_size=6).map(str.encode),
        ),
    ),
    max_size=3,
)
malformed = st.lists(
    st.builds(b"%b: %b".__mod__, st.tuples(st.binary(max_size=3), st.binary(max_size=3)))
    | st.builds(b"X: %b\r\n%b".__mod__, st.tuples(st.binary(max_size=3), st.binary(max_size=3)))
    | st.binary(max_size=3),
    max_size=2,
)


@given(
    sent=headers | malformed,
    target=st.sampled_from([b"/count", b"/say", b"/health", b"/openapi.json"]),
)
@example(sent=[b"X: " + b"x" * 100_000], target=b"/count")
@example(sent=[b"X-%d: y" % number for number in range(2000)], target=b"/count")
@example(sent=[b"Cookie: " + b"; ".join([b"a=b"] * 3000)], target=b"/count")
@example(sent=[b"Accept: " + b",".join([b"a/b;q=0.1"] * 1500)], target=b"/count")
@example(sent=[b"Transfer-Encoding: chunked"], target=b"/count")
@example(sent=[b"Expect: 100-continue"], target=b"/count")
def test_headers_of_any_kind_are_borne(service: Service, sent: list[bytes], target: bytes) -> None:
    method = "POST" if target in {b"/count", b"/say"} else "GET"
    request = request_of(b'{"name": "x"}', *sent, method=method.encode(), target=target)
    # Some say that more is to come.
    received = exchange(service, request, half_close=True)

    if received:
        parsed(received.removeprefix(b"HTTP/1.1 100 \r\n\r\n"), method)


# --- targets

SEGMENTS = [
    b"/", b"//", b"count", b"say", b"health", b"docs", b"openapi.json", b"ready", b"metrics",
    b"runs", b"runs/" + b"0" * 32, b"cancel", b"events", b"%63ount", b"%2f", b"%2e%2e", b"..", b".",
    b"%00", b"%0d%0a", b";x", b"?", b"?a=b", b"#", b"\\", b"%5c", b"\x80", b"\xff", b"%ff", b"%",
    b"%zz", b"COUNT", b"http://x/", b"http://127.0.0.1", b"*", b"x:80", b"@", b"[", b"{flow}",
    b"<script>", b"'", b'"', b"\t", b"\x7f", b"\xe2\x80\xa8", b"%e2%80%a8", b"a" * 3000, b"count/",
    b"count.", b"+", b"&", b"=",
]  # fmt: skip
METHODS = [
    b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT",
    b"BREW", b"get", b"post", b"PRI", b"QUERY", b"X" * 100,
]  # fmt: skip


@given(
    method=st.sampled_from([b"GET", b"POST", *METHODS]),
    path=st.lists(
        st.sampled_from(SEGMENTS) | st.binary(max_size=2).map(quote).map(str.encode), max_size=4
    ).map(b"".join),
    rooted=st.booleans(),
)
@example(method=b"POST", path=b"count", rooted=True)
@example(method=b"POST", path=b"x" * 70_000, rooted=True)
def test_a_target_is_that_of_an_endpoint_or_refused(
    service: Service, method: bytes, path: bytes, rooted: bool
) -> None:
    target = b"/" + path if rooted else path
    received = exchange(service, request_of(method=method, target=target))
    if not received and b"\n" in target:
        return
    answer = parsed(received, method.decode())

    # Nobody is sent elsewhere, least of all to a host that a header names.
    assert not 300 <= answer.status < 400
    if "x-run-id" in answer.headers:
        assert method == b"POST"
        assert unquote_to_bytes(target.partition(b"?")[0]).strip(b"/") in FLOWS


# --- events of a run


@given(
    known=st.booleans(),
    number=st.sampled_from(
        ["0", "1", "2", "3", "4", "-1", "00", "1.0", "", " 1", "9" * 18, "9" * 5000]
    )
    | st.text(max_size=4),
    form=st.sampled_from(["{id}-{number}", "{id}{number}", "{number}", "{id}-{id}-{number}", "-"]),
    method=st.sampled_from(["GET", "POST"]),
)
def test_any_last_event_id_is_that_of_an_event_or_refused(
    service: Service, known: bool, number: str, form: str, method: str
) -> None:
    run = parsed(exchange(service, request_of(b"{}", target=b"/say")))
    run_id = run.headers["x-run-id"] if known else "0" * 32
    event_id = form.format(id=run_id, number=number).encode()
    target = f"/runs/{run_id}/events" if method == "GET" else "/say"
    request = request_of(
        b"{}", b"Last-Event-ID: " + event_id, method=method.encode(), target=target.encode()
    )
    answer = parsed(exchange(service, request), method)

    assert answer.status in {200, 204, 400, 404}
    if answer.status == 200 and event_id.strip():
        # What it resumes is that run, and nothing was run anew.
        assert answer.headers["x-run-id"] == run_id
        assert answer.body.endswith(b"data:[DONE]\n\n")


# --- what is not HTTP

LINES = [
    b"POST /count HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"GET /\r\n",
    b"\r\n", b"POST /count HTTP/9.9\r\n", b"POST /count HTTP/1.1\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\n", b"Host: x\r\n", b"Host: x\n",
    b"Content-Length: 13\r\n", b"Transfer-Encoding: chunked\r\n", b" \r\n",
    b"Content-Type: application/json\r\n", b"d\r\n", b"0\r\n\r\n", b"ffffffffffffffffff\r\n",
    b'{"name": "x"}', b"-1\r\n", b"d;x=y\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\0" * 50, b"\xff" * 50, b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n", b"Trailer: x\r\n",
    b"a" * 70_000, b": \r\n", b"X\r\n", b"\tfolded\r\n", b"Connection: close\r\n",
]  # fmt: skip


@given(sent=st.lists(st.sampled_from(LINES) | st.binary(max_size=4), max_size=9).map(b"".join))
@example(sent=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0" * 100)
@example(sent=b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
@example(sent=b"\r\n" * 10_000)
def test_what_is_not_http_is_refused(service: Service, sent: bytes) -> None:
    received = exchange(service, sent, half_close=True)

    if received:
        with contextlib.suppress(HTTPException):
            method = "GET" if sent.lstrip(b"\r\n").startswith(b"GET") else "POST"
            answer = parsed(received, method)
            assert answer.status == 200 or answer.status >= 400


@pytest.fixture(autouse=True)
def still_there(service: Service):
    """The service answers as ever when all is over."""
    yield
    answer = parsed(exchange(service, request_of()))
    assert (answer.status, json.loads(answer.body)["answer"]) == (200, "1")
