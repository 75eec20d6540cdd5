from __future__ import annotations

import pytest

from flowcore import ChunkEnum, FlowApp, FlowStreamChunk, InputError, Message, Role
from flowcore.testing import ScriptedError, collect, run_op, scripted_llm
from flowcore_chat.chat_op import ChatOp
from flowcore_chat.stream_chat_op import StreamChatOp

BOTH = pytest.mark.parametrize("op", [ChatOp, StreamChatOp])
THINK = FlowStreamChunk(chunk_type=ChunkEnum.THINK, chunk="hm")
TOOL = FlowStreamChunk(
    chunk_type=ChunkEnum.TOOL, chunk={"id": "1", "name": "add", "arguments": "{}"}
)


def asked(llm):
    return [(message.role.value, message.content) for message in llm.calls[-1].messages]


async def test_the_stream_op_alone_answers_a_query():
    llm = scripted_llm([THINK, "Hello", " Bob", TOOL])

    result = await run_op(StreamChatOp(llm=llm), query="Hi")

    assert [chunk.chunk_type.value for chunk in result.chunks] == [
        "think", "answer", "answer", "tool", "usage",
    ]  # fmt: skip
    assert result.text == "Hello Bob"
    assert result.chunks[-1].metadata == {"finish_reason": "stop"}
    assert asked(llm) == [("user", "Hi")]


async def test_the_chat_op_answers_with_metadata_and_without_a_stream():
    result = await run_op(ChatOp(llm=scripted_llm([THINK, "Hello", TOOL])), query="Hi")

    assert result.response.answer == "Hello"
    assert result.response.metadata == {
        "usage": {"completion_tokens": 3},
        "finish_reason": "stop",
        "reasoning": "hm",
        "tool_calls": [{"id": "1", "name": "add", "arguments": "{}"}],
    }


@BOTH
@pytest.mark.parametrize(
    "history",
    [
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
        [Message(content="Hi"), Message(role=Role.ASSISTANT, content="Hello")],
    ],
)
async def test_a_query_follows_the_messages(op, history):
    llm = scripted_llm()

    await run_op(op(llm=llm), messages=history, query="Who are you?")

    assert asked(llm) == [("user", "Hi"), ("assistant", "Hello"), ("user", "Who are you?")]


@BOTH
async def test_the_reply_is_added_so_that_the_next_op_goes_on(op):
    llm = scripted_llm(["one"], ["two"])

    await run_op(op(llm=llm) >> op(llm=llm), query="Count")

    assert asked(llm) == [("user", "Count"), ("assistant", "one")]


@BOTH
async def test_the_system_prompt_of_the_context_comes_first(op):
    llm = scripted_llm()

    await run_op(op(llm=llm), query="Hi", system_prompt="Be brief.")

    assert asked(llm) == [("system", "Be brief."), ("user", "Hi")]


@BOTH
async def test_the_system_prompt_of_the_op_wins_over_that_of_the_context(op):
    llm = scripted_llm()

    await run_op(op(llm=llm, system_prompt="Be kind."), query="Hi", system_prompt="Be brief.")

    assert asked(llm)[0] == ("system", "Be kind.")


@BOTH
async def test_a_system_message_of_the_caller_is_joined_to_the_system_prompt(op):
    llm = scripted_llm()
    messages = [{"role": "system", "content": "Use metres."}, {"role": "user", "content": "Hi"}]

    await run_op(op(llm=llm), messages=messages, system_prompt="Be brief.")

    assert asked(llm) == [("system", "Be brief.\n\nUse metres."), ("user", "Hi")]


@BOTH
async def test_without_a_question_the_error_names_the_fields(op):
    with pytest.raises(InputError, match=r"'query'.*'messages'"):
        await run_op(op(llm=scripted_llm()))


@BOTH
@pytest.mark.parametrize(
    ("inputs", "place"),
    [
        ({"messages": [{"role": "nobody"}]}, r"messages\.0\.role"),
        ({"messages": "Hi"}, "messages: "),
        ({"query": 5}, "query: must be a text"),
    ],
)
async def test_malformed_input_is_named_by_its_place(op, inputs, place):
    with pytest.raises(InputError, match=place):
        await run_op(op(llm=scripted_llm()), **inputs)


async def test_a_failing_model_ends_the_stream_with_an_error_after_what_was_said():
    llm = scripted_llm(["Hel", ScriptedError(error="the model is gone", code="gone")])

    async with FlowApp({}, flows={"chat": StreamChatOp(llm=llm)}) as app:
        result = await collect(app, "chat", query="Hi")

    assert result.text == "Hel"
    assert result.chunks[-1].chunk_type is ChunkEnum.ERROR
    assert result.chunks[-1].chunk == "the model is gone"
    assert result.chunks[-1].metadata["code"] == "gone"


async def test_an_error_chunk_of_the_model_fails_the_run():
    error = FlowStreamChunk(chunk_type=ChunkEnum.ERROR, chunk="over quota")

    async with FlowApp({}, flows={"chat": StreamChatOp(llm=scripted_llm([error]))}) as app:
        result = await collect(app, "chat", query="Hi")

    assert [chunk.chunk for chunk in result.chunks] == ["over quota"]


async def test_the_stream_of_the_model_is_closed_when_the_caller_leaves():
    llm = scripted_llm(["a"] * 1000)

    async with FlowApp({}, flows={"chat": StreamChatOp(llm=llm)}) as app:
        async with app.stream("chat", query="Hi") as chunks:
            async for _ in chunks:
                break

        assert llm.open_streams == 0
