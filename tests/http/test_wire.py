from __future__ import annotations

import json
import math

import pytest

from flowcore import ChunkEnum, FlowStreamChunk
from flowcore.sse import SSEDecoder
from flowcore_http.wire import COMMENT, DONE, ChunkEncoder, encode_json

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
    return ChunkEncoder("run1").encode(chunks)


def decode(data: bytes) -> list[dict[str, object]]:
    return [json.loads(event.data) for event in SSEDecoder().feed(data)]


def test_an_event_has_exactly_the_keys_and_the_order_of_the_contract():
    assert encode(FlowStreamChunk(chunk="hi")) == (
        b'data:{"flow_id":"run1","chunk_type":"answer","chunk":"hi","done":false,"metadata":{}}\n\n'
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

    assert json.loads(lines[0].removeprefix("data:"))["chunk"] == text
    assert lines[1:] == [""]


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


def test_the_end_mark_and_the_comment_end_with_a_blank_line():
    assert (DONE, COMMENT) == (b"data:[DONE]\n\n", b":\n\n")
