from __future__ import annotations

import json

import anyio
import pytest

from flowcore import ChunkEnum, Message, Role, Tool, ToolCall

EMOJI = 'root ::= "😀😀中文"'
WEATHER = Tool(
    name="get_weather",
    description="Weather of a city",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
    },
)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_reply_streams_token_by_token_on_both_event_loops(llm, colors, drain):
    with anyio.fail_after(30):
        *texts, usage = await drain(llm.astream_chat(colors))

    assert {chunk.chunk_type for chunk in texts} == {ChunkEnum.ANSWER}
    assert "".join(str(chunk.chunk) for chunk in texts).startswith("1. Red")
    assert len(texts) > 5
    assert usage.chunk_type is ChunkEnum.USAGE


async def test_chunks_arrive_while_the_rest_is_still_being_generated(llm, colors, metric):
    chunks = llm.astream_chat(colors, max_tokens=100, ignore_eos=True)
    with anyio.fail_after(30):
        await anext(chunks)

        assert await metric("requests_processing") == 1
        await chunks.aclose()


async def test_the_stream_and_the_whole_reply_say_the_same(llm, colors, drain):
    with anyio.fail_after(30):
        *texts, usage = await drain(llm.astream_chat(colors, cache_prompt=False))
        reply = await llm.achat(colors, cache_prompt=False)

    assert reply.content == "".join(str(chunk.chunk) for chunk in texts)
    assert reply.metadata == {"usage": usage.chunk, "finish_reason": "stop"}


async def test_usage_counts_add_up(llm, colors):
    with anyio.fail_after(30):
        usage = (await llm.achat(colors)).metadata["usage"]

    assert usage["prompt_tokens"] > 10
    assert usage["completion_tokens"] == 12
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_a_reply_cut_by_max_tokens_says_so(llm, colors):
    with anyio.fail_after(30):
        reply = await llm.achat(colors, max_tokens=5)

    assert reply.metadata["finish_reason"] == "length"
    assert reply.metadata["usage"]["completion_tokens"] == 5


async def test_params_of_a_call_win_over_those_of_the_config(make_llm, colors):
    llm = make_llm(temperature=0, max_tokens=2, n_parallel=1, n_ctx=256)

    async def length(**params):
        return (await llm.achat(colors, **params)).metadata["usage"]["completion_tokens"]

    with anyio.fail_after(30):
        assert await length() == 2
        assert await length(max_tokens=3) == 3
        assert await length(max_completion_tokens=4) == 4


async def test_characters_of_several_tokens_arrive_whole(llm, colors, drain):
    with anyio.fail_after(30):
        *texts, _ = await drain(llm.astream_chat(colors, grammar=EMOJI))

    assert [chunk.chunk for chunk in texts] == ["😀", "😀", "中", "文"]


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4])
async def test_a_reply_cut_within_a_character_leaves_no_broken_one(llm, colors, max_tokens):
    with anyio.fail_after(30):
        reply = await llm.achat(colors, grammar=EMOJI, max_tokens=max_tokens)

    assert reply.content in {"", "😀"}


async def test_lone_surrogates_of_a_message_do_no_harm(llm):
    with anyio.fail_after(30):
        reply = await llm.achat([Message(content="Say hi \ud83d\ude00 \ud83d")], max_tokens=3)

    assert reply.metadata["usage"]["completion_tokens"] == 3


async def test_a_tool_call_is_assembled_into_one_chunk(make_llm, tool_template, drain):
    llm = make_llm(temperature=0, n_parallel=1, n_ctx=1024, chat_template=tool_template)
    messages: list[Message] = []
    for number, city in enumerate(["Rome", "Paris"]):  # the small model needs examples
        call = ToolCall(id=str(number), name="get_weather", arguments=f'{{"city": "{city}"}}')
        messages += [
            Message(content=f"What is the weather in {city}?"),
            Message(role=Role.ASSISTANT, tool_calls=[call]),
            Message(role=Role.TOOL, tool_call_id=str(number), content="sunny"),
        ]
    messages.append(Message(content="What is the weather in Paris?"))

    with anyio.fail_after(30):
        tool, usage = await drain(llm.astream_chat(messages, [WEATHER], tool_choice="required"))

    assert tool.chunk_type is ChunkEnum.TOOL
    call = ToolCall.model_validate(tool.chunk)
    assert (call.name, call.arguments) == ("get_weather", '{"city": "Paris"}')
    assert call.id
    assert usage.metadata == {"finish_reason": "tool_calls"}


async def test_thinking_is_kept_apart_from_the_answer(make_llm, think_template, drain):
    llm = make_llm(temperature=0, n_parallel=1, n_ctx=512, chat_template=think_template)

    with anyio.fail_after(30):
        *texts, _ = await drain(llm.astream_chat([Message(content="What is ai")], max_tokens=8))

    assert {chunk.chunk_type for chunk in texts} == {ChunkEnum.THINK}


async def test_a_text_that_looks_like_progress_of_the_prompt_is_not_lost(llm, colors):
    text = '{"prompt_progress": "prompt_progress"}'
    grammar = f"root ::= {json.dumps(text)}"

    with anyio.fail_after(30):
        reply = await llm.achat(colors, grammar=grammar)

    assert reply.content == text
