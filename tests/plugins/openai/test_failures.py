"""How failures of an upstream are told."""

from __future__ import annotations

import gzip
import socket
import traceback
from typing import Any

import anyio
import pytest

from flowcore import Message

from .conftest import CANARY, MakeLLM, text_and_failure
from .upstream import (
    DONE,
    EOF,
    HANG,
    RESET,
    Drip,
    Reply,
    Request,
    Upstream,
    delta,
    event,
    finish,
    sse,
    status,
    usage,
)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (400, "upstream_rejected"),
        (401, "upstream_auth"),
        (403, "upstream_auth"),
        (404, "upstream_not_found"),
        (422, "upstream_rejected"),
        (429, "upstream_rate_limited"),
        (500, "upstream_error"),
        (503, "upstream_error"),
    ],
)
async def test_a_status_becomes_a_code_and_the_message_is_quoted(
    code: int, expected: str, upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", status(code, "the  upstream's\nown words"))
    _, error = await text_and_failure(llm(max_retries=0))
    assert (error.code, error.status) == (expected, code)
    assert f"model 'm' at 127.0.0.1:{upstream.port}: HTTP {code}" in str(error)
    assert "the upstream's own words" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": "own words"}',
        b'{"message": "own words"}',
        b'{"detail": "own words"}',
        b'{"detail": [{"loc": ["body"], "msg": "own words"}]}',
        b'{"error": true, "message": "own words"}',
        b"own words",
        b"<html><body><h1>own words</h1></body></html>",
    ],
)
async def test_error_bodies_of_other_servers_are_quoted(
    body: bytes, upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", Reply((body,), 400, framing="length"))
    _, error = await text_and_failure(llm())
    assert "own words" in str(error)
    assert "<" not in str(error)


async def test_a_long_or_wild_message_is_cut_and_cleaned(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", status(400, "bad \x1b[31m\0\ud83d " + "x" * 100_000))
    _, error = await text_and_failure(llm())
    assert len(str(error)) < 700
    assert str(error).isprintable()
    str(error).encode()


@pytest.mark.parametrize("key", [None, "", "  "])
async def test_a_missing_key_is_named_when_the_upstream_wants_one(
    key: str | None, upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", status(401, "no"))
    _, error = await text_and_failure(llm(api_key=key))
    assert "FLOW_LLM_API_KEY is not set" in str(error)


async def test_a_wrong_key_is_not_called_missing(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", status(401, "no"))
    _, error = await text_and_failure(llm())
    assert "check api_key or FLOW_LLM_API_KEY" in str(error)


async def test_a_key_that_the_upstream_echoes_is_masked(upstream: Upstream, llm: MakeLLM):
    words = f"Incorrect API key provided: {CANARY}"
    upstream.on("status", status(401, words + "x" * 480 + CANARY))
    upstream.on("stream", sse({"error": {"message": words}}))
    upstream.on("junk", sse(b"data: " + words.encode() + b"\n\n"))
    upstream.on("type", Reply((b"",), headers={"content-type": f"text/{CANARY}"}))
    for name in ("status", "stream", "junk", "type"):
        model = llm(name)
        _, error = await text_and_failure(model)
        shown = "".join(traceback.format_exception(error))
        assert "***" in str(error)
        for text in (shown, repr(error), repr(vars(error)), repr(vars(model))):
            assert CANARY not in text
        assert error.__cause__ is None
        assert error.__context__ is None


async def test_user_and_query_of_the_url_are_not_shown(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", status(400, "no"))
    url = upstream.base_url.replace("//", "//user:hunter2@") + "?token=hunter3"
    model = llm(base_url=url)
    _, error = await text_and_failure(model)
    assert "hunter" not in str(error)
    assert "hunter" not in repr(model.settings)
    request = upstream.requests[0]
    assert request.path == "/v1/chat/completions?token=hunter3"
    assert request.headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize("user", ["user:hunter-2", "hunter-2", ":hunter%2d2"])
async def test_what_the_url_holds_is_masked_where_the_upstream_echoes_it(
    user: str, upstream: Upstream, llm: MakeLLM
):
    def echo(request: Request) -> Reply:
        said = f"{request.headers['authorization']} hunter-2 {request.path} is wrong"
        return status(401, said)

    upstream.on("m", echo)
    url = upstream.base_url.replace("//", f"//{user}@") + "?api_key=hunter-3&version=v4"
    _, error = await text_and_failure(llm(base_url=url))
    assert upstream.requests[0].headers["authorization"].startswith("Basic ")
    assert str(error).endswith("Basic *** *** /v1/chat/completions?api_key=***&version=v4 is wrong")


async def test_no_listener_is_unreachable(llm: MakeLLM, caplog: pytest.LogCaptureFixture):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        _, error = await text_and_failure(llm(base_url=f"http://127.0.0.1:{port}/v1"))
    assert error.code == "upstream_unreachable"
    assert f"127.0.0.1:{port}" in str(error)
    assert [r.name for r in caplog.records if "retry" in r.message] == ["flowcore_openai"] * 2


async def test_a_reset_keeps_the_text_so_far(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", sse(delta("Hel"), delta("lo"), RESET))
    text, error = await text_and_failure(llm())
    assert (text, error.code) == ("Hello", "upstream_reset")
    assert len(upstream.requests) == 1


async def test_a_body_that_lacks_its_end_is_a_reset(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", sse(delta("Hel"), EOF))
    text, error = await text_and_failure(llm())
    assert (text, error.code) == ("Hel", "upstream_reset")


async def test_a_clean_end_too_early_is_a_truncation(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", sse(delta("Hel"), b'data: {"choices": [{"delta": {"content": "lo"}}'))
    text, error = await text_and_failure(llm())
    assert (text, error.code) == ("Hel", "upstream_truncated")
    upstream.on("m", sse())
    text, error = await text_and_failure(llm())
    assert (text, error.code) == ("", "upstream_truncated")


async def test_a_broken_connection_after_the_finish_reason_is_no_failure(
    upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", sse(delta("Hello"), finish(), usage(1, 1), RESET))
    reply = await llm().achat([Message(content="hi")])
    assert reply.content == "Hello"
    assert reply.metadata["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "out of memory", "code": 500}},
        {"error": "out of memory"},
        {"object": "error", "message": "out of memory", "code": 500},
        {"choices": [], "error": {"message": "out of memory"}},
    ],
)
async def test_an_error_inside_a_stream_is_told(
    error: dict[str, Any], upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", sse(delta("Hel"), error, DONE))
    text, failure = await text_and_failure(llm())
    assert (text, failure.code) == ("Hel", "upstream_error")
    assert "out of memory" in str(failure)


@pytest.mark.parametrize(
    "bad",
    [
        b"data: not JSON\n\n",
        b"data: 5\n\n",
        b"data: []\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"choices": 5}\n\n',
        b'data: {"choices": [5]}\n\n',
        b'data: {"choices": [{"delta": 5}]}\n\n',
        b'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": 5}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [5]}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [{"function": 5}]}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
    ],
    ids=lambda bad: bad[:60].decode("latin-1"),
)
async def test_what_is_not_the_protocol_is_invalid(bad: bytes, upstream: Upstream, llm: MakeLLM):
    reply = sse(event(delta("Hel")) + bad + event(delta("lo")))
    for shape in (reply, reply.split_everywhere() if len(bad) < 1000 else reply):
        upstream.on("m", shape)
        text, error = await text_and_failure(llm())
        assert (text, error.code) == ("Hel", "upstream_invalid")


async def test_a_page_in_place_of_an_answer_is_invalid(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", Reply((b"<html>Log in</html>",), headers={"content-type": "text/html"}))
    _, error = await text_and_failure(llm())
    assert error.code == "upstream_invalid"
    assert "text/html" in str(error)
    assert "base_url" in str(error)


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b""])
async def test_a_json_answer_that_is_none_is_invalid(body: bytes, upstream: Upstream, llm: MakeLLM):
    upstream.on("m", Reply((body,), headers={"content-type": "application/json"}))
    _, error = await text_and_failure(llm())
    assert error.code == "upstream_invalid"


async def test_a_body_that_cannot_be_decompressed_is_invalid(upstream: Upstream, llm: MakeLLM):
    good = gzip.compress(event(delta("a")) + DONE)
    upstream.on("m", sse(good, **{"content-encoding": "gzip"}))
    assert (await llm().achat([Message(content="hi")])).content == "a"
    upstream.on("m", sse(b"not gzip", **{"content-encoding": "gzip"}))
    _, error = await text_and_failure(llm())
    assert error.code == "upstream_invalid"


async def test_of_an_endless_error_body_only_the_beginning_is_read(
    upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", Reply((Drip(b"no room " * 1024, 0),), 500, {"content-type": "text/plain"}))
    with anyio.fail_after(5):
        _, error = await text_and_failure(llm(max_retries=0))
    assert (error.code, error.status) == ("upstream_error", 500)
    assert "no room no room" in str(error)
    assert len(str(error)) < 1000


async def test_an_error_body_that_does_not_end_does_not_hide_the_status(
    upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", Reply((b"busy", HANG), 503, {"content-type": "text/plain"}))
    with anyio.fail_after(5):
        _, error = await text_and_failure(llm(max_retries=0))
    assert error.status == 503


async def test_a_redirect_is_not_followed(upstream: Upstream, llm: MakeLLM):
    async with Upstream() as other:
        upstream.on("m", status(307, location=f"http://user:pw@127.0.0.1:{other.port}/v1?a=b"))
        _, error = await text_and_failure(llm())
        assert other.connections == 0
        assert (error.code, error.status) == ("upstream_rejected", 307)
        assert f"redirect to 127.0.0.1:{other.port}," in str(error)
    assert len(upstream.requests) == 1
