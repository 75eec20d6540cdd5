"""Requests that are malformed, too large, too slow, or only look like requests of flows."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from tests.faults.client import SECONDS, receive_all
from tests.faults.server import CANARY, Server
from tests.tries import is_within

JSON = b"Content-Type: application/json\r\n"


@pytest.fixture(scope="module", autouse=True)
def log_before(server: Server) -> int:
    """How much was logged before this module."""
    return len(server.log())


def send(
    server: Server, path: str, body: bytes, content_type: str | None = "application/json"
) -> httpx.Response:
    headers = {"Content-Type": content_type} if content_type else {}
    return httpx.post(f"{server.url}{path}", content=body, headers=headers, timeout=2 * SECONDS)


def problem(response: httpx.Response) -> tuple[int, str]:
    """The status and the code of a problem object, checked for its form."""
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["detail"]
    return response.status_code, body["code"]


def first_status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# --- bodies ---


def test_bad_json_is_400_with_line_and_column(server: Server):
    answer = send(server, "/echo", b'{\n  "texts": [1,]\n}')
    assert problem(answer) == (400, "invalid_json")
    assert "line 2 column 15" in answer.json()["detail"]


def test_inputs_of_the_wrong_form_are_422_and_no_value_is_repeated(server: Server):
    secret = "hunter2-hunter2"
    answer = send(server, "/echo", json.dumps({"texts": secret, "token": [secret]}).encode())
    assert problem(answer) == (422, "invalid_input")
    assert [error["loc"] for error in answer.json()["errors"]] == [["texts"], ["token"]]
    assert {"loc", "msg", "type"} == set(answer.json()["errors"][0])
    assert secret not in answer.text
    assert secret not in server.log()


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_another_content_type_is_415(server: Server, content_type: str | None):
    assert problem(send(server, "/echo", b"{}", content_type)) == (415, "unsupported_media_type")


def test_a_charset_that_is_not_utf_8_is_415(server: Server):
    answer = send(server, "/echo", "{}".encode("utf-16"), "application/json; charset=utf-16")
    assert problem(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true"])
def test_a_body_that_is_no_object_is_422(server: Server, body: bytes):
    assert problem(send(server, "/echo", body)) == (422, "invalid_input")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b'{"texts": ["\xff"]}',
        '{"texts": []}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": %s}' % (b"9" * 5000),
        b"{'a': 1}",
        b'{"a": "\x00"}',
        b'{"a": 01}',
    ],
)
def test_what_is_not_json_in_utf_8_is_400(server: Server, body: bytes):
    assert problem(send(server, "/echo", body)) == (400, "invalid_json")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"a":['])
def test_deep_nesting_is_400_at_once(server: Server, opening: bytes):
    body = opening * 100_000

    def seconds(_: str) -> float:
        began = time.monotonic()
        answer = send(server, "/echo", body)
        took = time.monotonic() - began
        assert problem(answer) == (400, "invalid_json")
        return took

    assert is_within(0.5, seconds, "")


def test_of_duplicate_keys_the_last_wins(server: Server):
    answer = send(server, "/echo", b'{"texts": ["a"], "texts": ["b"]}')
    assert '"chunk":"b"' in answer.text
    assert '"chunk":"a"' not in answer.text


def test_a_field_that_the_schema_does_not_name_is_passed_on(server: Server, key: str):
    assert send(server, "/echo", json.dumps({"key": key, "more": 1}).encode()).status_code == 200
    assert server.events(key) == ["started", "finished", "ended"]


@pytest.mark.parametrize("name", ["response", "flow_id", "__class__", "_run", "add_stream_chunk"])
def test_a_field_cannot_replace_what_is_the_contexts_own(server: Server, key: str, name: str):
    told = server.run("echo", key=key, texts=["a"], **{name: "mine"})
    assert (told.text, told.code) == ("a", "")


# --- size ---


def test_a_body_that_is_declared_too_large_is_413_before_it_is_read(server: Server):
    head = b"POST /echo HTTP/1.1\r\nHost: test\r\n" + JSON + b"Content-Length: 1000001\r\n\r\n"
    with server.connect() as sock:
        sock.sendall(head)
        answer = sock.recv(4096)
    assert first_status(answer) == 413


def test_a_chunked_body_is_413_at_the_limit_and_is_not_kept(server: Server):
    before = server.census().resident_bytes
    head = b"POST /echo HTTP/1.1\r\nHost: test\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with server.connect() as sock:
        sock.sendall(head)
        # 20 times the limit, or as much as the server lets in.
        try:
            for _ in range(300):
                sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = receive_all(sock)
    assert first_status(answer) == 413
    assert server.census().resident_bytes - before < 20_000_000


def test_a_client_that_uploads_to_the_end_still_sees_the_413(server: Server):
    # A reset would take the answer away from a client that has not read it yet.
    answer = send(server, "/echo", b'{"texts": ["%s"]}' % (b"x" * 3_000_000))
    assert problem(answer) == (413, "body_too_large")


def test_a_long_text_under_the_limit_works(server: Server):
    text = "x" * 900_000
    assert server.run("echo", texts=[text]).text == text


def test_a_header_that_is_too_large_is_431(server: Server):
    answer = server.exchange(
        b"POST /echo HTTP/1.1\r\nHost: test\r\nCookie: " + b"c" * 100_000 + b"\r\n\r\n"
    )
    assert first_status(answer) in {400, 431}


def test_a_url_that_is_too_long_is_refused(server: Server):
    answer = server.exchange(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: test\r\n\r\n")
    assert first_status(answer) in {400, 414, 431}


# --- slow clients ---


def test_headers_that_do_not_come_close_the_connection(server: Server):
    with server.connect() as sock:
        began = time.monotonic()
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: te")
        receive_all(sock)
        assert time.monotonic() - began < 20


def test_a_body_that_does_not_come_is_408(server: Server):
    head = b"POST /echo HTTP/1.1\r\nHost: test\r\n" + JSON + b"Content-Length: 100\r\n\r\n"
    began = time.monotonic()
    answer = server.exchange(head + b'{"texts"')
    assert first_status(answer) == 408
    assert time.monotonic() - began < 10


def test_a_body_that_drips_is_408_too(server: Server):
    head = b"POST /echo HTTP/1.1\r\nHost: test\r\n" + JSON + b"Content-Length: 1000\r\n\r\n"
    answer = b""
    with server.connect() as sock:
        sock.sendall(head)
        sock.settimeout(0.05)
        give_up = time.monotonic() + SECONDS
        while not answer and time.monotonic() < give_up:
            sock.sendall(b" ")
            try:
                answer = sock.recv(4096)
            except TimeoutError:
                continue
    assert first_status(answer) == 408


# --- framing ---


@pytest.mark.parametrize(
    "request_",
    [
        # two lengths, or two framings
        b"POST /echo HTTP/1.1\r\nHost: t\r\n%sContent-Length: 2\r\nTransfer-Encoding: chunked"
        b"\r\n\r\n0\r\n\r\n" % JSON,
        b"POST /echo HTTP/1.1\r\nHost: t\r\n%sContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} "
        % JSON,
        b"POST /echo HTTP/1.1\r\nHost: t\r\n%sContent-Length: +2\r\n\r\n{}" % JSON,
        b"POST /echo HTTP/1.1\r\nHost: t\r\n%sContent-Length: -2\r\n\r\n{}" % JSON,
        b"POST /echo HTTP/1.1\r\nHost: t\r\n%sContent-Length : 2\r\n\r\n{}" % JSON,
        b"POST /echo HTTP/1.1\r\nHost: t\r\n%sTransfer-Encoding: chunked\r\n"
        b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" % JSON,
        b"POST /echo HTTP/1.1\r\nHost: t\r\n%sTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" % JSON,
        b"POST /echo HTTP/1.1\r\nHost: t\r\n%sTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"
        % JSON,
        # lines that go on, or end oddly
        b"POST /echo HTTP/1.1\r\nHost: t\r\nX: a\r\n b\r\n%sContent-Length: 2\r\n\r\n{}" % JSON,
        b"POST /echo HTTP/1.1\nHost: t\r\n%sContent-Length: 2\r\n\r\n{}" % JSON,
        # lines that are none
        b"POST /echo HTTP/1.1\r\nHost: t\r\nX\x00: y\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: t\r\nX: a\x00b\r\n\r\n",
        b"POST /echo\r\n\r\n",
        b"POST  /echo HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_malformed_framing_is_refused_and_the_connection_closed(server: Server, request_: bytes):
    with server.connect() as sock:
        sock.sendall(request_)
        sock.shutdown(socket.SHUT_WR)
        answer = receive_all(sock)
    assert not answer or first_status(answer) in {400, 501}
    assert b"data:" not in answer


@pytest.mark.parametrize(
    "start",
    [
        b"CONNECT example.com:443 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET http://other.example/health HTTP/1.1",
        b"POST http://other.example/echo HTTP/1.1",
    ],
)
def test_other_forms_of_a_target_are_refused_or_are_the_path_itself(server: Server, start: bytes):
    answer = server.exchange(start + b"\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert first_status(answer) in {200, 204, 400, 404, 405, 415, 501}
    assert b"other.example" not in answer.partition(b"\r\n\r\n")[0]


def test_a_request_hidden_in_a_body_is_not_answered(server: Server, key: str):
    hidden = b"POST /quiet HTTP/1.1\r\nHost: t\r\n\r\n"
    body = b'{"texts": ["a"]}'
    request = b"POST /echo HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n"
    answer = server.exchange(request % (JSON, len(body)) + body + hidden)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_the_host_header_builds_no_url(server: Server):
    for path in (b"/", b"//echo", b"/docs", b"/openapi.json", b"/echo/"):
        answer = server.exchange(
            b"GET " + path + b" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        )
        assert b"evil.example" not in answer


# --- paths ---


@pytest.mark.parametrize(
    "path",
    [
        "/ECHO",
        "/echo/",
        "/echo;x",
        "/echo%2f..",
        "/echo%00",
        "/echo/..",
        "/./echo",
        "/v1//chat",
        "/..%2f..%2fetc%2fpasswd",
        "/%C0%AF",
        "/echo%0d%0aX-Injected:%201",
    ],
)
def test_a_path_that_only_resembles_a_flow_is_404_or_405(server: Server, path: str):
    request = f"POST {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n".encode() + JSON
    answer = server.exchange(request + b"Content-Length: 2\r\n\r\n{}")
    assert first_status(answer) in {400, 404, 405}
    assert b"x-injected" not in answer.lower().partition(b"\r\n\r\n")[0]


def test_an_unknown_flow_is_404_with_the_nearest_name_and_its_own_escaped(server: Server):
    answer = send(server, "/ecko", b"{}")
    assert problem(answer) == (404, "unknown_flow")
    assert "did you mean 'echo'?" in answer.json()["detail"]
    script = send(server, "/%3Cscript%3Ealert(1)%3C/script%3E", b"{}")
    assert script.headers["content-type"] == "application/problem+json"
    assert script.headers["x-content-type-options"] == "nosniff"


def test_after_all_this_the_server_is_well_and_has_logged_no_traceback(
    server: Server, log_before: int
):
    assert httpx.get(f"{server.url}/health").json() == {"status": "healthy"}
    assert "Traceback" not in server.log()[log_before:]
    assert CANARY not in server.log()
