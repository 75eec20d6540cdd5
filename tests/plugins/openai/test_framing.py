"""Answers whose body is taken off its HTTP chunks past the HTTP client."""

from __future__ import annotations

import gzip
import itertools

import anyio
import pytest

from flowcore import Message
from flowcore_openai.endpoint import Endpoint
from flowcore_openai.framing import ChunkedBody
from flowcore_openai.patience import Patience
from flowcore_openai.settings import LLMSettings

from .conftest import MakeLLM, pair, text_and_failure
from .upstream import DONE, EOF, HANG, Part, Reply, Upstream, delta, event, finish, sse

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HELLO = [Message(content="hi")]
HEL = event(delta("Hel"))
LO = event(delta("lo")) + event(finish()) + DONE
WHOLE = [("answer", "Hel"), ("answer", "lo"), ("usage", {})]


def framed(data: bytes, extension: bytes = b"") -> bytes:
    return b"%X%b\r\n%b\r\n" % (len(data), extension, data)


def raw(*parts: Part) -> Reply:
    return Reply(parts, status=0, framing="close")


@pytest.mark.parametrize(
    ("data", "content", "rest"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b"0\r\n\r\n"),
        (b"5\r\nhello\r\n3\r\nyou\r\n000\r\nTrailer: x\r\n\r\n", b"helloyou", b"000\r\nTrailer: x"),
        (b"a\r\n0123456789\r\nA\r\n\r\n\r\n\r\n\r\n\r\n\r\n", b"0123456789" + b"\r\n" * 5, b""),
        (b"5\r\nhello\r\n3;name=value\r\nyou\r\n", b"hello", b"3;name=value\r\nyou"),
        (b"5\r\nhello\r\n-3\r\nyou\r\n", b"hello", b"-3\r\nyou"),
        (b"5\r\nhello\r\n3 \r\nyou\r\n", b"hello", b"3 \r\nyou"),
        (b"11111111111111111\r\nhello", b"", b"11111111111111111\r\nhello"),
        (b"\r\n", b"", b"\r\n"),
    ],
)
def test_plain_chunks_are_taken_and_the_rest_is_left(data: bytes, content: bytes, rest: bytes):
    for step in range(1, len(data) + 1):
        body = ChunkedBody()
        got, left = b"", b""
        for start in range(0, len(data), step):
            if not body.plain:
                left += data[start : start + step]
                continue
            got += body.feed(data[start : start + step])
        assert got == content
        assert (body.rest + left).startswith(rest)
        assert body.plain is (rest == b"")


@pytest.mark.parametrize("rest", [b"lo\r\n", b"\n", b"\rx", b"3\r\n"])
def test_of_a_chunk_that_is_longer_than_it_says_only_that_much_is_taken(rest: bytes):
    data = b"3\r\nhel" + rest
    for cut in range(len(data)):
        body = ChunkedBody()
        assert body.feed(data[:cut]) + body.feed(data[cut:]) == b"hel"
        assert body.broken


async def test_many_chunks_of_one_write_are_read_at_once(upstream: Upstream):
    upstream.on("m", raw(HEAD + framed(HEL) * 1000 + framed(LO) + b"0\r\n\r\n"))
    settings = LLMSettings(model_name="m", base_url=upstream.base_url)
    endpoint = Endpoint(settings)
    reads: list[bytes] = []
    patience = Patience(anyio.current_time() + 5)
    async with endpoint.chat({"model": "m", "messages": []}, {}, patience) as exchange:
        while (data := await exchange.read()) is not None:
            reads.append(data)
    await endpoint.aclose()
    assert b"".join(reads) == HEL * 1000 + LO
    assert len(reads) < 50


ANSWERS = {
    "chunks in one write": HEAD + framed(HEL) + framed(LO) + b"0\r\n\r\n",
    "head ended by LF": HEAD.replace(b"\r\n", b"\n") + framed(HEL) + framed(LO) + b"0\r\n\r\n",
    "interim answer": b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"
    + (HEAD + framed(HEL) + framed(LO) + b"0\r\n\r\n"),
    "extension": HEAD + framed(HEL, b";a=b") + framed(LO) + b"0\r\n\r\n",
    "extension later": HEAD + framed(HEL) + framed(LO, b';a="b"') + b"0\r\n\r\n",
    "trailers": HEAD + framed(HEL) + framed(LO) + b"0\r\nA: b\r\nC: d\r\n\r\n",
    "compressed": HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    + (framed(gzip.compress(HEL + LO)) + b"0\r\n\r\n"),
    "old protocol": HEAD.replace(b"1.1", b"1.0").replace(b"Transfer-Encoding: chunked\r\n", b"")
    + (HEL + LO),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_every_form_of_answer_is_read_however_it_is_cut(
    answer: bytes, upstream: Upstream, llm: MakeLLM
):
    model = llm()
    cuts = range(0, len(answer), max(1, len(answer) // 40))
    for cut in cuts:
        upstream.on("m", raw(answer[:cut], answer[cut:]))
        chunks = [pair(chunk) async for chunk in model.astream_chat(HELLO)]
        assert chunks == WHOLE, f"cut at byte {cut}"
    upstream.on("m", raw(*(bytes([byte]) for byte in answer)))
    assert [pair(chunk) async for chunk in model.astream_chat(HELLO)] == WHOLE


@pytest.mark.parametrize(
    "rest",
    [
        b"3\r\nabcd\r\n",
        b"-1\r\n\r\n",
        b"zz\r\n",
        b"f" * 17 + b"\r\nx",
        b"5\r\nab",
        b"5\r\nabcde",
        b"",
    ],
)
async def test_a_body_with_broken_framing_is_a_reset(rest: bytes, upstream: Upstream, llm: MakeLLM):
    upstream.on("m", raw(HEAD, framed(HEL), rest, EOF))
    text, error = await text_and_failure(llm())
    assert (text, error.code) == ("Hel", "upstream_reset")


async def test_a_connection_serves_again_after_its_body_was_taken(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", *itertools.repeat(sse(delta("Hel"), LO), 5))
    model = llm()
    for _ in range(5):
        assert [pair(chunk) async for chunk in model.astream_chat(HELLO)] == WHOLE
    assert upstream.connections == 1


async def test_bytes_after_the_answer_end_the_connection(upstream: Upstream, llm: MakeLLM):
    more = HEAD + framed(event(delta("not asked for"))) + b"0\r\n\r\n"
    upstream.on("m", raw(ANSWERS["trailers"] + more))
    model = llm()
    for _ in range(2):
        assert [pair(chunk) async for chunk in model.astream_chat(HELLO)] == WHOLE
    assert upstream.connections == 2


async def test_a_status_without_body_is_not_waited_for(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", raw(HEAD.replace(b"200 OK", b"204 None"), HANG))
    with anyio.fail_after(5):
        _, error = await text_and_failure(llm())
    assert error.code == "upstream_truncated"
