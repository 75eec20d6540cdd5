from __future__ import annotations

import copy
from typing import Any

import pytest

from flowcore import (
    BaseAsyncOp,
    BaseOp,
    ChunkEnum,
    ChunkError,
    FlowApp,
    FlowContext,
    FlowStreamChunk,
    RunFailedError,
)
from flowcore.testing import collect, run_op


class ProbeOp(BaseAsyncOp):
    """Hands its context to a function of the test."""

    def __init__(self, look: Any) -> None:
        super().__init__()
        self.look = look

    async def async_execute(self) -> None:
        self.look(self.context)


async def test_inputs_are_read_as_attributes_as_items_and_with_get() -> None:
    seen: list[Any] = []

    def look(context: FlowContext) -> None:
        seen.extend([context.query, context["query"], context.get("query"), context.get("x", 5)])
        seen.extend(["query" in context, "x" in context, len(context), list(context)])
        seen.append(dict(context))

    await run_op(ProbeOp(look), query="hi")

    assert seen == ["hi", "hi", "hi", 5, True, False, 1, ["query"], {"query": "hi"}]


async def test_values_are_written_as_attributes_and_items_for_the_ops_that_follow() -> None:
    def write(context: FlowContext) -> None:
        context.a = 1
        context["b"] = 2
        context.update({"c": 3, "d": 4})
        del context.c
        del context["d"]

    seen: dict[str, Any] = {}
    await run_op(ProbeOp(write) >> ProbeOp(seen.update))

    assert seen == {"a": 1, "b": 2}


async def test_a_missing_value_names_flow_and_nearest_name() -> None:
    messages: list[str] = []

    def look(context: FlowContext) -> None:
        with pytest.raises(AttributeError) as attribute:
            _ = context.mesages
        with pytest.raises(KeyError) as item:
            _ = context["mesages"]
        messages.extend([str(attribute.value), str(item.value)])
        assert not hasattr(context, "nothing")

    await run_op(ProbeOp(look), messages=[])

    for message in messages:
        assert "flow 'op' has no 'mesages'" in message
        assert "did you mean 'messages'?" in message
        assert "neither an input nor set by an earlier op" in message


@pytest.mark.parametrize(
    "name", ["flow_id", "response", "add_stream_chunk", "get", "update", "_run", "__class__"]
)
async def test_an_input_never_replaces_the_contexts_own_attributes(name: str) -> None:
    seen: list[Any] = []

    def look(context: FlowContext) -> None:
        seen.extend([getattr(context, name) == "evil", context[name], context.flow_id])

    async with FlowApp({}, flows={"f": ProbeOp(look)}) as app:
        result = await collect(app, "f", **{name: "evil"})

    assert result.error is None
    assert seen[:2] == [False, "evil"]
    assert len(seen[2]) == 32


async def test_a_value_may_be_called_as_what_an_op_counts_for_itself() -> None:
    def write(context: FlowContext) -> None:
        context.emitted = 3

    seen: list[Any] = []
    await run_op(ProbeOp(write) >> ProbeOp(lambda context: seen.append(context.emitted)))

    assert seen == [3]


async def test_an_op_cannot_replace_the_contexts_own_attributes_either() -> None:
    def look(context: FlowContext) -> None:
        with pytest.raises(AttributeError, match=r"store the value as context\['response'\]"):
            setattr(context, "response", "mine")  # noqa: B010

    await run_op(ProbeOp(look))


@pytest.mark.parametrize("name", ["self", "flow", "inputs", "context", "run", "chunk", "x y", ""])
async def test_an_input_may_have_any_name(name: str) -> None:
    seen: list[Any] = []
    async with FlowApp({}, flows={"f": ProbeOp(lambda context: seen.append(context[name]))}) as app:
        await app.execute("f", **{name: 1})

    assert seen == [1]


async def test_the_response_is_the_answer_of_a_flow_that_is_not_streamed() -> None:
    def answer(context: FlowContext) -> None:
        context.response.answer = {"n": 1}
        context.response.success = False
        context.response.metadata["source"] = "test"

    async with FlowApp({}, flows={"f": ProbeOp(answer)}) as app:
        response = await app.execute("f")

    assert response.model_dump() == {
        "answer": {"n": 1}, "success": False, "metadata": {"source": "test"},
    }  # fmt: skip


async def test_the_flow_id_is_unique_for_each_run_and_on_each_chunk() -> None:
    class ChunkOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.own_id = self.context.flow_id
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="x", flow_id="forged"))

    ids: set[str] = set()
    async with FlowApp({}, flows={"f": ChunkOp()}) as app:
        for _ in range(50):
            async with app.stream("f") as chunks:
                got = [chunk.flow_id async for chunk in chunks]
                assert got == [chunks.run.id] == [chunks.run.data["own_id"]]
                ids.add(chunks.run.id)

    assert len(ids) == 50


async def test_the_repr_of_a_context_shows_names_and_no_values() -> None:
    seen: list[str] = []

    await run_op(ProbeOp(lambda context: seen.append(repr(context))), api_key="secret")

    assert "api_key" in seen[0]
    assert "secret" not in seen[0]


async def test_a_context_may_be_copied_but_not_by_accident_for_ever() -> None:
    seen: list[Any] = []

    def look(context: FlowContext) -> None:
        seen.append(dict(context))
        try:
            seen.append(copy.copy(context).query)
        except TypeError as error:
            seen.append(str(error))

    await run_op(ProbeOp(look), query="q")

    assert seen[0] == {"query": "q"}
    assert len(seen) == 2


async def test_outside_of_a_run_an_op_says_that_it_has_no_context() -> None:
    with pytest.raises(
        RuntimeError, match=r"ProbeOp\.context exists only while .* by itself, open"
    ):
        _ = ProbeOp(None).context


async def test_a_chunk_is_copied_when_it_is_sent() -> None:
    class ReuseOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            chunk = FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk={"n": 0})
            assert isinstance(chunk.chunk, dict)
            for number in range(3):
                chunk.chunk["n"] = number
                await self.context.add_stream_chunk(chunk)

    result = await run_op(ReuseOp())

    assert [chunk.chunk for chunk in result.chunks] == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_a_text_is_sent_as_the_chunk_that_one_would_make_of_it() -> None:
    texts = ["first", "中文", "", "a\ud83d", "x" * 10]
    kinds = [ChunkEnum.ANSWER, ChunkEnum.THINK]

    class TextOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            for kind in kinds:
                for text in texts:
                    await self.context.add_stream_text(text, kind)
            await self.context.add_stream_text("last")

    class ChunkOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            for kind in kinds:
                for text in texts:
                    chunk = FlowStreamChunk(chunk=text, chunk_type=kind)
                    await self.context.add_stream_chunk(chunk)
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="last"))

    sent, made = await run_op(TextOp()), await run_op(ChunkOp())

    assert [(chunk.chunk_type, chunk.chunk) for chunk in sent.chunks] == [
        (chunk.chunk_type, chunk.chunk) for chunk in made.chunks
    ]
    assert len(sent.chunks) == 9


@pytest.mark.parametrize("kind", ["think", "answer", "tool", "usage"])
@pytest.mark.parametrize("as_type", [str, ChunkEnum])
async def test_every_type_takes_a_text_and_may_be_named_by_its_value(
    kind: str, as_type: type[str]
) -> None:
    class TextOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.add_stream_text("looking it up", as_type(kind))

    result = await run_op(TextOp())

    assert [(chunk.chunk_type, chunk.chunk) for chunk in result.chunks] == [
        (ChunkEnum(kind), "looking it up")
    ]


async def test_a_sync_op_sends_texts_from_its_thread() -> None:
    class SyncOp(BaseOp):
        def execute(self) -> None:
            self.context.add_stream_text_sync("hm", ChunkEnum.THINK)
            self.context.add_stream_text_sync("so")

    result = await run_op(SyncOp())

    assert [(chunk.chunk_type, chunk.chunk) for chunk in result.chunks] == [
        ("think", "hm"), ("answer", "so"),
    ]  # fmt: skip


async def test_an_error_text_ends_the_run_as_an_error_chunk_does() -> None:
    class FailingOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.add_stream_text("no model", ChunkEnum.ERROR)

    with pytest.raises(RunFailedError, match="no model"):
        await run_op(FailingOp())


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ({"a": 1}, "answer", "'text_op' emitted \"{'a': 1}\" as a text, which it is not"),
        (None, "answer", "'None' as a text"),
        ("hi", "anser", "a text of type 'anser'; types: think, answer, tool"),
        ("hi", None, "a text of type 'None'"),
        ("hi", [], r"a text of type '\[\]'"),
    ],
)
async def test_what_is_no_text_or_of_no_type_is_refused(text: Any, kind: Any, told: str) -> None:
    class TextOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.add_stream_text(text, kind)

    with pytest.raises(ChunkError, match=told):
        await run_op(TextOp())


@pytest.mark.parametrize("method", ["add_stream_chunk", "add_stream_text"])
async def test_a_sync_op_that_takes_the_async_method_is_told(method: str) -> None:
    class SyncOp(BaseOp):
        def execute(self) -> None:
            getattr(self.context, method)(FlowStreamChunk(chunk="lost"))

    with pytest.raises(ChunkError, match=f"{method}_sync"):
        await run_op(SyncOp())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("add_chunk", "add_stream_chunk"), ("add_text", "add_stream_text"), ("respnse", "response")],
)
async def test_what_a_context_has_is_suggested_to_who_misspells_it(typed: str, meant: str) -> None:
    with pytest.raises(AttributeError, match=f"has no '{typed}'.*did you mean '{meant}'"):
        await run_op(ProbeOp(lambda context: getattr(context, typed)))


async def test_what_was_a_method_of_flowllm_is_told_with_what_to_write() -> None:
    class OldOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.add_stream_string_and_type(chunk="a", chunk_type=ChunkEnum.ANSWER)

    class OldSyncOp(BaseOp):
        def execute(self) -> None:
            self.context.add_stream_string_and_type("a", ChunkEnum.ANSWER)

    line = (
        r"`await self\.context\.add_stream_text\(text, chunk_type\)`, in which `chunk=` is .*`text="
    )
    with pytest.raises(AttributeError, match=f"FlowLLM's: write {line}"):
        await run_op(OldOp())
    with pytest.raises(
        AttributeError, match=r"write `self.context.add_stream_text_sync\(text, chu"
    ):
        await run_op(OldSyncOp())


async def test_who_ends_a_stream_as_in_flowllm_is_told_to_leave_that_out() -> None:
    class OldOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.add_stream_done()

    with pytest.raises(AttributeError, match="delete the call, for a stream ends by itself") as it:
        await run_op(OldOp())
    assert "did you mean" not in str(it.value)


async def test_who_records_an_error_as_in_flowllm_is_told_to_raise_it() -> None:
    class OldOp(BaseOp):
        def execute(self) -> None:
            self.context.add_response_error(ValueError())

    with pytest.raises(AttributeError, match="FlowLLM's: raise the error, which ends the run"):
        await run_op(OldOp())


@pytest.mark.parametrize("method", ["add_stream_chunk", "add_stream_text"])
async def test_what_is_not_awaited_is_warned_of_by_the_name_that_was_typed(method: str) -> None:
    class ForgetfulOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            getattr(self.context, method)(FlowStreamChunk(chunk="lost"))

    with pytest.warns(RuntimeWarning, match=rf"'FlowContext\.{method}' was never awaited"):
        await run_op(ForgetfulOp())
