from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowcore import BackendError, ChunkEnum, FlowStreamChunk
from flowcore.testing import Recording
from flowcore.testing.cassette_file import HEADER, read, write
from flowcore.testing.recorded import recorded_chunk
from tests.docs.markdown import ROOT, blocks

PATH = Path("c.yaml")
AWKWARD = (
    *("\n", " a\n b \n", "\n\n a", "\r\n", "\t\n", "\x85\u2028"),
    *("yes", "5", "null", "a: b", "- x", "#", "=", "2024-01-01"),
)
TEXTS = st.text(st.characters(exclude_categories=[])) | st.sampled_from(AWKWARD)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3)
CHUNKS = st.builds(
    FlowStreamChunk,
    chunk_type=st.sampled_from(ChunkEnum),
    chunk=TEXTS | OBJECTS | st.lists(JSON, max_size=3),
    metadata=OBJECTS,
    done=st.booleans(),
)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=TEXTS,
    extra=JSON,
    chunks=st.lists(CHUNKS, max_size=3),
    vector=st.lists(st.floats(), max_size=3),
)
def test_what_is_written_is_what_is_read(
    text: str, extra: Any, chunks: list[FlowStreamChunk], vector: list[float]
) -> None:
    request = {"messages": [{"role": "user", "content": text}], "params": {"x": extra}}
    given = [(0.25, recorded_chunk(chunk, "m")) for chunk in chunks]
    stream = Recording(request, given, left=True)
    vectors = Recording({"texts": [text]}, vectors=[vector])

    write(PATH, [stream, vectors])

    assert repr([chunk for _, chunk in given]) == repr(chunks)
    assert repr(read(PATH)) == repr([stream, vectors])  # NaN does not equal itself


def test_a_file_is_easy_to_read_and_to_compare() -> None:
    usage = FlowStreamChunk(
        chunk_type=ChunkEnum.USAGE,
        chunk={"completion_tokens": 2},
        metadata={"finish_reason": "stop"},
    )
    chunks = [FlowStreamChunk(chunk="Light — "), FlowStreamChunk(chunk="and\nshade")]
    request = {"model": "m", "messages": [{"role": "user", "content": "Explain:\n\n  rainbows\n"}]}
    timed = [(0.01234, chunks[0]), (0.5, chunks[1]), (0.5, usage)]

    write(PATH, [Recording(request, timed)])

    assert PATH.read_text(encoding="utf-8") == HEADER + (
        "format: 1\n"
        "calls:\n"
        "- request:\n"
        "    model: m\n"
        "    messages:\n"
        "    - role: user\n"
        "      content: |\n"
        "        Explain:\n"
        "\n"
        "          rainbows\n"
        "  chunks:\n"
        "  - {at: 0.012, answer: 'Light — '}\n"
        '  - {at: 0.5, answer: "and\\nshade"}\n'
        "  - {at: 0.5, usage: {completion_tokens: 2}, metadata: {finish_reason: stop}}\n"
    )


def test_a_secret_is_replaced_wherever_it_stands() -> None:
    request = {"messages": [{"role": "user", "content": "my key is sk-123\nkeep it"}]}

    write(PATH, [Recording(request, [(0, FlowStreamChunk(chunk="sk-123!"))])], ["sk-123"])

    text = PATH.read_text(encoding="utf-8")
    assert "sk-123" not in text
    assert text.count("***") == 2


def test_a_secret_that_comes_in_pieces_is_replaced() -> None:
    texts = ["the key is s", "k-12", "3 and sk-", "12", "3!"]

    write(PATH, [Recording({}, [(0, FlowStreamChunk(chunk=t)) for t in texts])], ["sk-123"])

    replayed = [chunk.chunk for _, chunk in read(PATH)[0].chunks]
    assert replayed == ["the key is ***", "", " and ***", "", "!"]


def test_a_secret_that_is_a_name_is_replaced_wherever_it_stands() -> None:
    request = {
        "messages": [{"role": "user", "content": [{"type": "text", "sk-123": 1}]}],
        "tools": [{"name": "t", "parameters": {"properties": {"sk-123": {}, "x-sk-123": {}}}}],
        "params": {"by_key": {"sk-123": 1, "sk-1234567": 2}},
    }
    chunk = FlowStreamChunk(chunk={"sk-123": {"sk-123": [{"sk-123": 1}]}}, metadata={"sk-123": 2})

    write(PATH, [Recording(request, [(0, chunk)])], ["sk-1234567", "sk-123"])

    assert "sk-" not in PATH.read_text(encoding="utf-8")
    [recording] = read(PATH)
    assert recording.request == {
        "messages": [{"role": "user", "content": [{"type": "text", "***": 1}]}],
        "tools": [{"name": "t", "parameters": {"properties": {"***": {}, "x-***": {}}}}],
        "params": {"by_key": {"***": 1, "****": 2}},
    }
    assert recording.chunks[0][1].chunk == {"***": {"***": [{"***": 1}]}}
    assert recording.chunks[0][1].metadata == {"***": 2}


@pytest.mark.parametrize("secret", ["sk-canary-4242", "k\u00fc\u00dfchen", "????>>>>", "abcdef"])
@pytest.mark.parametrize("before", ["", "u:", "me:", "you:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_in_base64_is_replaced_alone_or_as_a_part(
    secret: str, before: str, encode: Callable[[bytes], bytes]
) -> None:
    text = encode(f"{before}{secret}".encode()).decode()
    request = {"messages": [{"content": f"Basic {text}"}], "params": {text: 1}}
    pieces = [FlowStreamChunk(chunk=character) for character in text]

    write(PATH, [Recording(request, [(0, piece) for piece in pieces])], [secret])

    [recording] = read(PATH)
    content = recording.request["messages"][0]["content"]
    [name] = recording.request["params"]
    streamed = "".join(str(chunk.chunk) for _, chunk in recording.chunks)
    assert content == f"Basic {name}"
    assert name == streamed
    begin, end = name.split("***")
    # At an end stands at most a character that has bits of what is beside it, and filling.
    assert text.startswith(begin)
    assert text.endswith(end)
    assert len(begin) <= math.ceil(8 * len(before) / 6)
    assert len(end.rstrip("=")) <= 1
    assert before or not (begin or end)


@pytest.mark.parametrize(
    "secret", ['pa"ss\\word 9', "pässwörd-1", "a+b/c=d?e&f", "half \ud83d of one"]
)
@pytest.mark.parametrize(
    "escape",
    [
        json.dumps,
        partial(json.dumps, ensure_ascii=False),
        partial(quote, errors="surrogatepass"),
        partial(quote, safe="", errors="surrogatepass"),
        partial(quote_plus, errors="surrogatepass"),
    ],
    ids=["json", "json-not-ascii", "path", "part", "query"],
)
def test_a_secret_that_is_escaped_is_replaced(secret: str, escape: Callable[[str], str]) -> None:
    write(PATH, [Recording({"messages": [{"content": f"x={escape(secret)}"}]})], [secret])

    [recording] = read(PATH)
    assert recording.request["messages"][0]["content"].replace('"', "") == "x=***"


def test_what_looks_like_base64_of_a_short_secret_stays() -> None:
    write(PATH, [Recording({"texts": ["MQ== or MQ, and aGV5"]})], ["1", "hey"])

    assert read(PATH)[0].request == {"texts": ["MQ== or MQ, and aGV5"]}


@pytest.mark.parametrize("secret", ["1", "answer", "a\nb: 'c'", "calls"])
def test_a_secret_of_odd_form_is_replaced_and_the_file_stays_a_cassette(secret: str) -> None:
    request = {"messages": [{"content": f"my key is {secret} "}]}

    write(PATH, [Recording(request, [(0, FlowStreamChunk(chunk=secret))])], [secret])

    [recording] = read(PATH)
    assert recording.request == {"messages": [{"content": "my key is *** "}]}
    assert recording.chunks[0][1].chunk == "***"


def test_half_a_character_is_read_as_it_was_written() -> None:
    recording = Recording({"texts": ["\ud83d"]}, [(0, FlowStreamChunk(chunk="\ude00"))])

    write(PATH, [recording])

    assert read(PATH) == [recording]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("calls: [", "ParserError"),
        ("[]", "TypeError"),
        ("calls: []", "KeyError: 'format'"),
        ("format: 2\ncalls: []", "its format is 2, not 1"),
        ("format: 1\ncalls: [{chunks: []}]", "KeyError: 'request'"),
        ("format: 1\ncalls: [{request: {}, chunks: [{at: 1}]}]", "a chunk is one of think, answer"),
    ],
)
def test_a_file_that_is_no_cassette_is_refused(text: str, said: str) -> None:
    PATH.write_text(text, encoding="utf-8")

    with pytest.raises(BackendError) as caught:
        read(PATH)

    assert str(caught.value).startswith("c.yaml cannot be read as a cassette")
    assert said in str(caught.value)
    assert caught.value.code == "cassette_invalid"


def test_the_file_in_the_reference_is_a_cassette() -> None:
    (shown,) = [block.text for block in blocks(ROOT / "docs/reference/testing.md")]
    PATH.write_text(shown, encoding="utf-8")

    (recording,) = read(PATH)

    assert [chunk.chunk_type for _, chunk in recording.chunks] == [
        "think",
        "answer",
        "answer",
        "usage",
    ]
    write(PATH, [recording])
    assert PATH.read_text(encoding="utf-8") == HEADER + shown
