from __future__ import annotations

import json
import math

import pytest

from flowcore import ChunkEnum, FlowStreamChunk
from flowcore.sse import SSEDecoder
from flowcore_http.wire import (
    COMMENT,
    EventEncoder,
    encode_json,
    parse_event_id,
    split_events,
)

AWKWARD_TEXTS = [
    "a\nb\rc\r\nd",
    "\0\x1b\t",
    "next\x85line\u2028and\u2029paragraph",
    "\ufeffbom",
    "👩‍👩‍👧 你好 \u202ertl",
    "data: [DONE]\n\nid: 7\n\n",
    "[DONE]",
    '"quoted" \\ back\\slash \\ud83d',
    "{}",
]


def encode(*chunks: FlowStreamChunk) -> bytes:
    return EventEncoder("run1").events(chunks, 7)


def decode(data: bytes) -> list[dict[str, object]]:
    return [json.loads(event.data) for event in SSEDecoder().feed(data)]


def test_an_event_has_exactly_the_keys_and_the_order_of_the_contract():
    assert encode(FlowStreamChunk(chunk="hi")) == (
        b'id:run1-7\ndata:{"flow_id":"run1","chunk_type":"answer","chunk":"hi","done":false,"metadata":{}}\n\n'
    )


def test_chunks_that_are_ready_together_become_one_write():
    data = encode(
        FlowStreamChunk(chunk_type=ChunkEnum.THINK, chunk="hm"),
        FlowStreamChunk(chunk="so", metadata={"n": 1}),
        FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk={"name": "f", "arguments": "{}"}),
    )

    assert [chunk["chunk_type"] for chunk in decode(data)] == ["think", "answer", "tool"]
    assert decode(data)[1]["metadata"] == {"n": 1}
    assert decode(data)[2]["chunk"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize("text", AWKWARD_TEXTS)
def test_any_text_stays_one_event_and_comes_back_unchanged(text: str):
    data = encode(FlowStreamChunk(chunk=text), FlowStreamChunk(chunk={"k": text}))

    assert [chunk["chunk"] for chunk in decode(data)] == [text, {"k": text}]


@pytest.mark.parametrize("text", AWKWARD_TEXTS)
def test_a_reader_that_splits_lines_like_python_gets_whole_events(text: str):
    lines = encode(FlowStreamChunk(chunk=text)).decode().splitlines()

    assert json.loads(lines[1].removeprefix("data:"))["chunk"] == text
    assert lines[2:] == [""]


def test_a_lone_surrogate_becomes_the_replacement_character():
    data = encode(FlowStreamChunk(chunk="a\ud83d"), FlowStreamChunk(chunk=["\udc00b", "😀"]))

    assert [chunk["chunk"] for chunk in decode(data)] == ["a\ufffd", ["\ufffdb", "😀"]]
    assert b"\\ud83d\\ude00" in data


def test_metadata_without_a_json_form_does_not_break_the_stream():
    metadata = {"set": {1}, "nan": math.nan, "bytes": b"\xff", "type": object}
    [chunk] = decode(encode(FlowStreamChunk(chunk="x", metadata=metadata)))

    assert chunk["metadata"] == {
        "set": [1], "nan": "NaN", "bytes": "_w==", "type": "<class 'object'>",
    }  # fmt: skip


def test_json_of_a_response_is_ascii_and_has_no_infinities():
    assert encode_json({"é": [math.inf]}) == '{"\\u00e9":["Infinity"]}'


def test_the_end_mark_is_an_event_with_an_id_and_a_comment_is_one_line():
    assert EventEncoder("run1").end(9) == b"id:run1-9\ndata:[DONE]\n\n"
    assert COMMENT == b":\n"


def test_the_numbers_of_joined_events_count_up():
    data = encode(*(FlowStreamChunk(chunk=text) for text in "abc"))

    assert [event.id for event in SSEDecoder().feed(data)] == ["run1-7", "run1-8", "run1-9"]


def test_joined_events_can_be_told_apart_again():
    chunks = [FlowStreamChunk(chunk=text) for text in AWKWARD_TEXTS]

    events = split_events(encode(*chunks))

    assert b"".join(events) == encode(*chunks)
    assert [decode(event)[0]["chunk"] for event in events] == AWKWARD_TEXTS


def test_an_opening_gives_an_id_but_no_event():
    decoder = SSEDecoder()

    events = [*decoder.feed(EventEncoder("run1").opening(3)), *decoder.feed(b"data:x\n\n")]

    assert [(event.id, event.data) for event in events] == [("run1-3", "x")]


def test_a_gap_is_an_event_of_its_own_kind():
    (event,) = SSEDecoder().feed(EventEncoder("run1").gap(2, 5))

    assert (event.event, event.id) == ("gap", "run1-5")
    assert json.loads(event.data) == {"flow_id": "run1", "first": 2, "last": 5}


RUN = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("event_id", "expected"),
    [
        (f"{RUN}-0", (RUN, 0)),
        (f"{RUN}-17", (RUN, 17)),
        (f"{RUN}", None),
        (f"{RUN}-", None),
        (f"{RUN}--1", None),
        (f"{RUN.upper()}-1", None),
        (f"{RUN}-\u0661", None),
        (f"{RUN}-1\n", None),
        (f"{RUN}-{'9' * 5000}", None),
        ("x", None),
    ],
)
def test_only_ids_of_ours_are_understood(event_id: str, expected: tuple[str, int] | None):
    assert parse_event_id(event_id) == expected
