"""Whatever text an op emits, every client reads exactly that text, as one chunk."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from collections.abc import Iterable
from typing import Any

import httpx
import httpx_sse
import pytest
from anyio import to_thread
from anyio.from_thread import BlockingPortal
from hypothesis import example, given
from hypothesis import strategies as st

from flowcore.sse import SSEDecoder
from flowcore_http import HttpClient, SyncHttpClient

from .conftest import Service
from .cuts import cutting_proxy
from .npm import Parsers

LINE_ENDS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
LOOKS_LIKE_SSE = [
    "data:", "data: ", "data:[DONE]\n\n", "[DONE]", "id: 7\n", "id:\0", "event: gap\n",
    "retry: 1\n", ":", ": comment\n\n", "\n\n", "\r\r", "\r\n\r\n",
]  # fmt: skip
OTHERS = [
    "\0", "\x1b[31m", "\x7f", "\ufeff", "\ufffe", "\uffff", "\U0010ffff", "\\", "\\u2028", '"',
    "\u200d", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f3f3\ufe0f\u200d\U0001f308",
    "\u202e", "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627", "e\u0301",
    "\u4f60\u597d", "\ud83d", "\ude00", "\ud83d\ude00", "</script>", "data", " ",
]  # fmt: skip
TRICKY = LINE_ENDS + LOOKS_LIKE_SSE + OTHERS
SEPARATORS_AND_CONTROLS = [
    chr(code)
    for code in (*range(0x20), *range(0x7F, 0xA1), *range(0x2000, 0x2070), *range(0xFFF0, 0x10000))
]
SURROGATES = [chr(code) for code in range(0xD800, 0xE000)]

texts = st.lists(
    st.one_of(st.sampled_from(TRICKY), st.text(st.characters(), max_size=5)), max_size=8
).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | texts.map(lambda text: text.encode(errors="replace").decode()),
    lambda values: st.lists(values, max_size=4)
    | st.dictionaries(texts.map(lambda text: text.encode(errors="replace").decode()), values),
    max_leaves=12,
)  # fmt: skip
containers = json_values.filter(lambda value: isinstance(value, dict | list))


def repaired(text: str) -> str:
    """Return the text as a reader must get it: pairs of surrogates joined, others replaced."""
    joined = ""
    for char in text:
        if joined and "\ud800" <= joined[-1] <= "\udbff" and "\udc00" <= char <= "\udfff":
            code = 0x10000 + ((ord(joined[-1]) - 0xD800) << 10) + (ord(char) - 0xDC00)
            joined = joined[:-1] + chr(code)
        else:
            joined += char
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in joined)


def request_for(payloads: Iterable[Any]) -> dict[str, str]:
    """Return the inputs that make the service emit these payloads."""
    return {"pickled": pickle.dumps(list(payloads)).hex()}


def record(service: Service, payloads: Iterable[Any]) -> bytes:
    """Return the bytes of the stream that carries these payloads."""
    return httpx.post(f"{service.url}/say", json=request_for(payloads), trust_env=False).content


def contents(datas: Iterable[str]) -> list[Any]:
    """Return what the chunks in the data of events hold; the last event is the end mark."""
    *chunks, last = [data for data in datas if data]
    assert last == "[DONE]"
    return [json.loads(chunk)["chunk"] for chunk in chunks]


def in_pieces(stream: bytes, size: int) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


@pytest.fixture(name="read_with_our_clients")
def our_clients(portal: BlockingPortal, async_client: HttpClient, sync_client: SyncHttpClient):
    """Return a function that gives what both clients read."""

    async def read(payloads: list[Any]) -> list[Any]:
        stream = async_client.execute_stream_flow("say", **request_for(payloads))
        return [chunk["content"] async for chunk in stream]

    def read_both(payloads: list[Any]) -> tuple[list[Any], list[Any]]:
        blocking = sync_client.execute_stream_flow("say", **request_for(payloads))
        return portal.call(read, payloads), [chunk["content"] for chunk in blocking]

    return read_both


@given(said=st.lists(texts, max_size=6))
@example(said=TRICKY)
@example(said=["".join(TRICKY)])
@example(said=SEPARATORS_AND_CONTROLS)
@example(said=["".join(SEPARATORS_AND_CONTROLS)])
@example(said=SURROGATES)
def test_our_clients_read_every_text_as_it_was_said(
    service: Service, read_with_our_clients, said: list[str]
):
    expected = [repaired(text) for text in said if text]

    assert read_with_our_clients(said) == (expected, expected)


@given(said=st.lists(texts, max_size=6), size=st.integers(1, 50))
@example(said=TRICKY, size=1)
@example(said=SEPARATORS_AND_CONTROLS, size=7)
@example(said=SURROGATES, size=1000)
def test_parsers_of_python_read_every_text_as_it_was_said(
    service: Service, said: list[str], size: int
):
    expected = [repaired(text) for text in said if text]
    stream = record(service, said)

    decoder = SSEDecoder()
    events = [event for piece in in_pieces(stream, size) for event in decoder.feed(piece)]
    response = httpx.Response(
        200, headers={"Content-Type": "text/event-stream"}, content=iter(in_pieces(stream, size))
    )
    foreign = httpx_sse.EventSource(response).iter_sse()

    assert contents(event.data for event in events) == expected
    assert contents(event.data for event in foreign) == expected
    # Any splitting of lines finds the same ones.
    assert stream.decode().splitlines() == stream.decode().split("\n")[:-1]


@pytest.mark.node
@given(said=st.lists(texts, max_size=6), size=st.integers(1, 50))
@example(said=TRICKY, size=1)
@example(said=SEPARATORS_AND_CONTROLS, size=7)
@example(said=SURROGATES, size=1000)
def test_parsers_from_npm_read_every_text_as_it_was_said(
    service: Service, npm_parsers: Parsers, said: list[str], size: int
):
    expected = [repaired(text) for text in said if text]

    parsed = npm_parsers.parse(in_pieces(record(service, said), size))

    assert parsed.keys() == {"eventsource-parser", "fetch-event-source"}
    for parser, events in parsed.items():
        assert contents(event["data"] for event in events) == expected, parser


@pytest.mark.node
def test_parsers_from_npm_read_a_stream_from_the_server(service: Service, npm_parsers: Parsers):
    fetched = npm_parsers.fetch(f"{service.url}/say", json.dumps(request_for(TRICKY)))

    for parser, events in fetched.items():
        assert contents(event["data"] for event in events) == list(map(repaired, TRICKY)), parser


@pytest.mark.node
def test_what_holds_the_stream_open_is_no_event_to_parsers_from_npm(
    service: Service, npm_parsers: Parsers
):
    fetched = npm_parsers.fetch(f"{service.url}/say_slowly", json.dumps(request_for("abc")))

    for parser, events in fetched.items():
        # Programs parse the data of every event that they are given.
        assert contents(event["data"] for event in events) == ["a", "b", "c"], parser
        assert all(event["data"] for event in events), parser
        assert [event["id"].rpartition("-")[2] for event in events] == ["1", "2", "3", "4"], parser


@pytest.mark.node
async def test_fetch_event_source_resumes_after_the_last_whole_event(
    service: Service, npm_parsers: Parsers
):
    async with cutting_proxy(service.port, [b'"chunk":"b"', b'"chunk":"d"']) as url:
        fetched = await to_thread.run_sync(
            npm_parsers.fetch_again, f"{url}/say_slowly", json.dumps(request_for("abcde"))
        )

    # Each time it sends the whole request again; the flow runs once.
    assert contents(event["data"] for event in fetched) == list("abcde")
    assert len({event["id"].partition("-")[0] for event in fetched}) == 1


@pytest.mark.node
async def test_the_ids_show_what_fetch_event_source_loses_of_an_event_that_was_cut(
    service: Service, npm_parsers: Parsers
):
    # It takes the id of an event for known before it has the event.
    async with cutting_proxy(service.port, [600]) as url:
        fetched = await to_thread.run_sync(
            npm_parsers.fetch_again, f"{url}/say_slowly", json.dumps(request_for("abcde"))
        )

    numbers = [int(event["id"].rpartition("-")[2]) for event in fetched]
    assert numbers == sorted(set(numbers))
    assert len(numbers) >= 5
    assert fetched[-1]["data"] == "[DONE]"


@given(said=st.lists(containers, max_size=6))
@example(said=[[*map(repaired, TRICKY)], {text: text for text in map(repaired, TRICKY)}])
@example(said=[[0.1, -0.0, 1e308, 5e-324, 2**53 + 1, -(2**63), 2**64, 10**4299]])
def test_json_values_come_back_as_they_were_said(
    service: Service, read_with_our_clients, said: list[Any]
):
    expected = json.loads(json.dumps(said).encode())
    for got in read_with_our_clients(said):
        assert [json.dumps(value) for value in got] == [json.dumps(value) for value in expected]


def test_numbers_that_json_lacks_come_as_text(service: Service, read_with_our_clients):
    said = [[math.nan, math.inf, -math.inf], {"a": {"b": math.nan}}]

    for got in read_with_our_clients(said):
        assert got == [["NaN", "Infinity", "-Infinity"], {"a": {"b": "NaN"}}]


@given(said=st.lists(texts.filter(bool), min_size=1, max_size=6))
def test_a_stream_that_is_cut_has_a_true_beginning_and_no_end_mark(
    service: Service, said: list[str]
):
    stream = record(service, said)
    expected = list(map(repaired, said))

    for end in range(0, len(stream), 13):
        datas = [event.data for event in SSEDecoder().feed(stream[:end])]
        assert "[DONE]" not in datas
        got = [json.loads(data)["chunk"] for data in datas if data]
        assert got == list(itertools.islice(expected, len(got)))
