"""What the events of an upstream become."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import pytest

from flowcore import BackendError, Message, Tool

from .conftest import MakeLLM, pair
from .upstream import (
    DONE,
    Drip,
    Pause,
    Reply,
    Upstream,
    delta,
    document,
    event,
    finish,
    sse,
    tool_delta,
    usage,
)

USAGE = ("usage", {})


async def chunks_of(upstream: Upstream, llm: MakeLLM, *replies: Reply) -> list[tuple[str, Any]]:
    upstream.on("m", *replies)
    return [pair(chunk) async for chunk in llm().astream_chat([Message(content="hi")])]


async def test_text_reasoning_and_usage_come_as_chunks(upstream: Upstream, llm: MakeLLM):
    reply = sse(
        delta("", role="assistant"),
        delta(reasoning_content="Let me "),
        delta(reasoning="see."),
        delta("Hel"),
        delta("lo"),
        finish("length"),
        usage(3, 5),
        DONE,
    )
    upstream.on("m", reply)
    chunks = [chunk async for chunk in llm().astream_chat([Message(content="hi")])]
    assert [pair(chunk) for chunk in chunks] == [
        ("think", "Let me "),
        ("think", "see."),
        ("answer", "Hel"),
        ("answer", "lo"),
        ("usage", {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}),
    ]
    assert chunks[-1].metadata == {"finish_reason": "length"}


async def test_a_chunk_comes_as_soon_as_it_is_sent(upstream: Upstream, llm: MakeLLM):
    resume = asyncio.Event()
    upstream.on("m", sse(delta("a"), Pause(resume), delta("b"), finish(), DONE))
    texts: list[Any] = []
    with anyio.fail_after(5):
        async for chunk in llm().astream_chat([Message(content="hi")]):
            texts.append(chunk.chunk)
            resume.set()
    assert texts == ["a", "b", {}]


async def test_achat_gathers_the_whole_reply(upstream: Upstream, llm: MakeLLM):
    call = tool_delta('{"q": 1}', index=0, id="c1", name="find")
    upstream.on(
        "m", sse(delta(reasoning="hm"), delta("yes"), call, finish("tool_calls"), usage(1, 2), DONE)
    )
    reply = await llm().achat([Message(content="hi")])
    assert (reply.content, reply.reasoning_content) == ("yes", "hm")
    assert reply.tool_calls[0].model_dump() == {"id": "c1", "name": "find", "arguments": '{"q": 1}'}
    assert reply.metadata["finish_reason"] == "tool_calls"
    assert reply.metadata["usage"]["total_tokens"] == 3


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": []},
        {"choices": None},
        {},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0, "delta": {"content": None, "tool_calls": None}}]},
        {"choices": [{"index": 0}]},
        {"choices": [{"index": 1, "delta": {"content": "another"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": None},
        {"choices": [], "error": None},
        {"type": "ping"},
    ],
)
async def test_an_event_without_content_changes_nothing(
    odd: dict[str, Any], upstream: Upstream, llm: MakeLLM
):
    reply = sse(odd, delta("a"), odd, delta("b"), odd, finish(), odd, DONE)
    assert await chunks_of(upstream, llm, reply) == [("answer", "a"), ("answer", "b"), USAGE]


async def test_empty_reasoning_beside_content_loses_nothing(upstream: Upstream, llm: MakeLLM):
    reply = sse(
        delta("a", reasoning_content="", reasoning=None),
        delta("b", reasoning="x", reasoning_content="x"),
        finish(),
        DONE,
    )
    expected = [("answer", "a"), ("think", "x"), ("answer", "b"), USAGE]
    assert await chunks_of(upstream, llm, reply) == expected


async def test_refusals_and_typed_parts_are_text(upstream: Upstream, llm: MakeLLM):
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "so"},
    ]
    reply = sse(delta(parts), delta(refusal="I cannot"), finish(), DONE)
    expected = [("think", "hm"), ("answer", "so"), ("answer", "I cannot"), USAGE]
    assert await chunks_of(upstream, llm, reply) == expected


async def test_inline_think_tags_stay_text(upstream: Upstream, llm: MakeLLM):
    reply = sse(delta("<think>hm</think>yes"), finish(), DONE)
    assert await chunks_of(upstream, llm, reply) == [("answer", "<think>hm</think>yes"), USAGE]


async def test_a_stream_may_end_with_done_or_with_a_finish_reason(upstream: Upstream, llm: MakeLLM):
    expected = [("answer", "a"), USAGE]
    assert await chunks_of(upstream, llm, sse(delta("a"), DONE)) == expected
    assert await chunks_of(upstream, llm, sse(delta("a"), finish())) == expected


async def test_a_json_answer_to_a_streamed_request_works(upstream: Upstream, llm: MakeLLM):
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "hello", "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    answer = {"choices": [choice], "usage": usage(1, 1)["usage"]}
    assert await chunks_of(upstream, llm, document(answer)) == [
        ("answer", "hello"),
        ("tool", {"id": "c1", "name": "f", "arguments": "{}"}),
        ("usage", {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}),
    ]


async def test_a_whole_message_after_its_deltas_is_not_repeated(upstream: Upstream, llm: MakeLLM):
    whole = {"choices": [{"index": 0, "message": {"content": "ab"}, "finish_reason": "stop"}]}
    reply = sse(delta("a"), delta("b"), whole, DONE)
    assert await chunks_of(upstream, llm, reply) == [("answer", "a"), ("answer", "b"), USAGE]


async def test_surrogates_split_over_deltas_are_joined(upstream: Upstream, llm: MakeLLM):
    reply = sse(
        delta(reasoning="a\ud83d"),
        delta(reasoning="\ude00"),
        delta("b\ud83d"),
        delta("\ude00c"),
        delta("\ude00d\ud83d"),
        delta("e"),
        delta("f\ud83d"),
        finish(),
        DONE,
    )
    chunks = await chunks_of(upstream, llm, reply)
    assert "".join(c for kind, c in chunks if kind == "think") == "a😀"
    assert "".join(c for kind, c in chunks if kind == "answer") == "b😀c\ufffdd\ufffdef\ufffd"
    assert all(content for kind, content in chunks if kind != "usage")


FIND = {"id": "c1", "name": "find", "arguments": '{"q": "x"}'}
READ = {"id": "c2", "name": "read", "arguments": "{}"}

TOOL_STREAMS = {
    "whole": [
        tool_delta('{"q": "x"}', index=0, id="c1", name="find"),
        tool_delta("{}", index=1, id="c2", name="read"),
    ],
    "split anywhere": [
        tool_delta(index=0, id="c1"),
        tool_delta(index=0, name="fi"),
        tool_delta(index=0, name="nd"),
        *[tool_delta(char, index=0) for char in '{"q": "x"}'],
        tool_delta("{}", index=1, id="c2", name="read"),
    ],
    "id and name repeated": [
        tool_delta('{"q": ', index=0, id="c1", name="find"),
        tool_delta('"x"}', index=0, id="c1", name="find"),
        tool_delta("{", index=1, id="c2", name="read"),
        tool_delta("}", index=1, id="c2", name="read"),
    ],
    "interleaved, the second first": [
        tool_delta("{", index=1, id="c2", name="read"),
        tool_delta('{"q"', index=0, id="c1", name="find"),
        tool_delta("}", index=1),
        tool_delta(': "x"}', index=0),
    ],
    "without index": [
        tool_delta(id="c1", name="find"),
        tool_delta('{"q": '),
        tool_delta('"x"}'),
        tool_delta(id="c2", name="read"),
        tool_delta("{}"),
    ],
    "without index, interleaved by id": [
        tool_delta('{"q": ', id="c1", name="find"),
        tool_delta("{", id="c2", name="read"),
        tool_delta('"x"}', id="c1"),
        tool_delta("}", id="c2"),
    ],
    "the same index for all": [
        tool_delta('{"q": "x"}', index=0, id="c1", name="find"),
        tool_delta("{", index=0, id="c2", name="read"),
        tool_delta("}", index=0),
    ],
}


@pytest.mark.parametrize("shape", TOOL_STREAMS)
async def test_tool_calls_are_assembled_from_any_split(
    shape: str, upstream: Upstream, llm: MakeLLM
):
    reply = sse(delta("a"), *TOOL_STREAMS[shape], finish("tool_calls"), DONE)
    expected = [("answer", "a"), ("tool", FIND), ("tool", READ), USAGE]
    assert await chunks_of(upstream, llm, reply) == expected


async def test_tool_calls_without_index_and_id_begin_with_a_name(upstream: Upstream, llm: MakeLLM):
    reply = sse(
        tool_delta(name="find"),
        tool_delta('{"q": "x"}'),
        tool_delta("{}", name="read"),
        finish("tool_calls"),
        DONE,
    )
    chunks = await chunks_of(upstream, llm, reply)
    assert [content["name"] for kind, content in chunks if kind == "tool"] == ["find", "read"]


async def test_surrogates_and_objects_in_tool_arguments_become_json_text(
    upstream: Upstream, llm: MakeLLM
):
    as_object = {"index": 1, "id": "c2", "function": {"name": "g", "arguments": {"k": "ü"}}}
    reply = sse(
        tool_delta('"\ud83d', index=0, id="c1", name="f"),
        tool_delta('\ude00"', index=0),
        delta(tool_calls=[as_object]),
        finish("tool_calls"),
        DONE,
    )
    tools = [content for kind, content in await chunks_of(upstream, llm, reply) if kind == "tool"]
    assert tools[0]["arguments"] == '"😀"'
    assert json.loads(tools[1]["arguments"]) == {"k": "ü"}


async def test_a_cut_tool_call_is_not_handed_out(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", sse(tool_delta('{"q": ', index=0, id="c1", name="find")))
    stream = llm().astream_chat([Message(content="hi")], [Tool(name="find")])
    with pytest.raises(BackendError) as caught:
        await anext(stream)
    assert caught.value.code == "upstream_truncated"


async def test_a_tool_call_without_end_is_cut_off(upstream: Upstream, llm: MakeLLM):
    endless = Drip(event(tool_delta("x" * 100_000, index=0)), 0)
    upstream.on("m", sse(tool_delta("", index=0, id="c1", name="find"), endless))
    with anyio.fail_after(10), pytest.raises(BackendError, match="tool calls of more") as caught:
        await anext(llm().astream_chat([Message(content="hi")], [Tool(name="find")]))
    assert caught.value.code == "upstream_invalid"


ODD_BYTES = (
    b"\xef\xbb\xbf: a comment\r\n\r\nevent: message\r\nid: 7\r\nretry: 10\r\n"
    b'data: {"choices": [{"index": 0,\r\n'
    b'data:  "delta": {"content": "h\xc3\xa9 \xe2\x80\xa8"}}]}\r\n\r\n'
    b'data:{"choices":[{"delta":{"content":"\xf0\x9f\x98\x80"}}]}\r\r'
    b"data:\n\n: keep-alive\n\n"
    b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"\\ude00"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
ODD_CHUNKS = [("answer", "hé \u2028"), ("answer", "😀"), ("answer", "😀"), USAGE]


async def test_one_byte_at_a_time_gives_the_same_chunks(upstream: Upstream, llm: MakeLLM):
    reply = sse(ODD_BYTES)
    assert await chunks_of(upstream, llm, reply) == ODD_CHUNKS
    assert await chunks_of(upstream, llm, reply.split_everywhere()) == ODD_CHUNKS


async def test_a_stream_split_at_any_byte_gives_the_same_chunks(upstream: Upstream, llm: MakeLLM):
    reply = sse(ODD_BYTES)
    upstream.on("m", *[reply.split(position) for position in range(1, len(ODD_BYTES))])
    model = llm()
    for position in range(1, len(ODD_BYTES)):
        chunks = [pair(chunk) async for chunk in model.astream_chat([Message(content="hi")])]
        assert chunks == ODD_CHUNKS, f"split at byte {position}"


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_every_framing_of_the_body_works(framing: str, upstream: Upstream, llm: MakeLLM):
    body = event(delta("a")) + event(finish()) + DONE
    reply = Reply((body,), 200, {"content-type": "text/event-stream"}, framing)
    assert await chunks_of(upstream, llm, reply) == [("answer", "a"), USAGE]


@pytest.mark.parametrize("content_type", ["Text/Event-Stream; charset=utf-8", "text/plain", ""])
async def test_a_badly_labelled_stream_is_read(content_type: str, upstream: Upstream, llm: MakeLLM):
    headers = {"content-type": content_type} if content_type else {}
    reply = Reply((event(delta("a")), DONE), headers=headers)
    assert await chunks_of(upstream, llm, reply) == [("answer", "a"), USAGE]
