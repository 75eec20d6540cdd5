from __future__ import annotations

from typing import Any

import anyio
import pytest

from flowcore import (
    BackendError,
    BaseAsyncOp,
    BaseEmbeddingModel,
    ChunkEnum,
    FlowStreamChunk,
    Message,
    ModelSettings,
    Role,
    RunFailedError,
    Tool,
)
from flowcore.testing import ScriptedError, run_op, scripted_llm


async def test_achat_puts_the_reply_together() -> None:
    llm = scripted_llm(
        [
            FlowStreamChunk(chunk_type=ChunkEnum.THINK, chunk="hm"),
            FlowStreamChunk(chunk_type=ChunkEnum.THINK, chunk="m"),
            "Hello ",
            "Bob",
            FlowStreamChunk(
                chunk_type=ChunkEnum.TOOL, chunk={"id": "1", "name": "f", "arguments": "{}"}
            ),
        ]
    )

    reply = await llm.achat([Message(content="Hi")])

    assert reply.role is Role.ASSISTANT
    assert (reply.content, reply.reasoning_content) == ("Hello Bob", "hmm")
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [("1", "f", "{}")]
    assert reply.metadata == {"usage": {"completion_tokens": 5}, "finish_reason": "stop"}
    assert llm.open_streams == 0


async def test_arguments_reach_the_backend_and_win_over_the_entrys_params() -> None:
    llm = scripted_llm()
    llm.settings.params.update(temperature=0.6, top_p=1)

    await llm.achat([Message(content="Hi")], [Tool(name="f")], temperature=0)

    assert llm.calls[0].messages == [Message(content="Hi")]
    assert llm.calls[0].tools == [Tool(name="f")]
    assert llm.calls[0].params == {"temperature": 0, "top_p": 1}


async def test_arguments_that_only_flowllms_models_take_are_refused_and_reach_no_model() -> None:
    llm = scripted_llm()

    with pytest.raises(TypeError, match=r"^callback_fn= is FlowLLM's: call .*; default_value= is "):
        await llm.achat([Message(content="Hi")], callback_fn=str, default_value="")
    with pytest.raises(TypeError, match=r"^enable_stream_print= is FlowLLM's: delete it"):
        llm.astream_chat([], enable_stream_print=True)
    assert llm.calls == []


async def test_a_failure_in_the_middle_of_achat_is_raised_and_the_stream_closed() -> None:
    llm = scripted_llm(["a", ScriptedError(error="gone", code="upstream_reset")])

    with pytest.raises(BackendError, match="gone") as caught:
        await llm.achat([])

    assert caught.value.code == "upstream_reset"
    assert llm.open_streams == 0


async def test_an_error_chunk_of_a_model_fails_achat() -> None:
    chunk = FlowStreamChunk(chunk_type=ChunkEnum.ERROR, chunk="no", metadata={"code": "x"})

    with pytest.raises(RunFailedError, match="no") as caught:
        await scripted_llm([chunk]).achat([])

    assert caught.value.metadata == {"code": "x"}


async def test_achat_stops_at_a_done_chunk() -> None:
    llm = scripted_llm(["a", FlowStreamChunk(chunk_type=ChunkEnum.DONE), "b"])

    assert (await llm.achat([])).content == "a"
    assert llm.open_streams == 0


async def test_the_guides_op_works_as_it_is_typed() -> None:
    class StreamChatOp(BaseAsyncOp):
        file_path: str = __file__

        async def async_execute(self) -> None:
            messages = [Message(role=Role.SYSTEM, content=self.context.system_prompt)]
            messages += self.context.messages
            async for chunk in self.llm.astream_chat(messages):
                assert isinstance(chunk, FlowStreamChunk)
                if chunk.chunk_type in (
                    ChunkEnum.ANSWER, ChunkEnum.THINK, ChunkEnum.ERROR, ChunkEnum.TOOL
                ):  # fmt: skip
                    await self.context.add_stream_chunk(chunk)

    think = FlowStreamChunk(chunk_type=ChunkEnum.THINK, chunk="hm")
    llm = scripted_llm([think, "Hello", " Bob"])

    result = await run_op(
        StreamChatOp(llm=llm), system_prompt="be kind", messages=[Message(content="Hi")]
    )

    assert [(c.chunk_type, c.chunk) for c in result.chunks] == [
        (ChunkEnum.THINK, "hm"), (ChunkEnum.ANSWER, "Hello"), (ChunkEnum.ANSWER, " Bob"),
    ]  # fmt: skip
    assert [message.role for message in llm.calls[0].messages] == [Role.SYSTEM, Role.USER]


async def test_an_op_may_read_many_streams_at_once() -> None:
    llm = scripted_llm(["a", "b"])

    class FanOp(BaseAsyncOp):
        async def ask(self, number: int) -> None:
            async for _ in self.llm.astream_chat([], number=number):
                if number % 2:
                    break

        async def async_execute(self) -> None:
            async with anyio.create_task_group() as group:
                for number in range(10):
                    group.start_soon(self.ask, number)

    await run_op(FanOp(llm=llm))

    assert (len(llm.calls), llm.open_streams) == (10, 0)


class LetterEmbedding(BaseEmbeddingModel):
    calls = 0

    async def embed(self, texts: Any) -> list[list[float]]:
        self.calls += 1
        return [[float(len(text))] for text in texts]


async def test_embeddings_of_one_text_of_several_and_of_none() -> None:
    model = LetterEmbedding(ModelSettings(model_name="m"))

    assert await model.async_get_embeddings("abc") == [3.0]
    assert await model.async_get_embeddings(["a", "bb"]) == [[1.0], [2.0]]
    assert await model.async_get_embeddings([]) == []
    assert model.calls == 2
    assert model.model_name == "m"


@pytest.mark.parametrize(
    ("messages", "kind"), [("hi", "str"), (Message(content="hi"), "Message"), ([{}], "dict")]
)
async def test_what_is_no_list_of_messages_is_refused_at_once(messages: Any, kind: str) -> None:
    llm = scripted_llm()
    asks: list[Any] = [llm.achat, llm.astream_chat]
    for ask in asks:
        with pytest.raises(TypeError, match=rf"Message\(content='Hello'\)\]; a {kind} is none"):
            await ask(messages)

    assert llm.calls == []
