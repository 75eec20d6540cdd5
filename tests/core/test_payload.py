from __future__ import annotations

from typing import Any

import anyio
import pytest

from flowcore import BaseAsyncOp, ChunkEnum, ChunkError, FlowApp, FlowStreamChunk, RunState
from flowcore.payload import json_bytes, repair_surrogates
from flowcore.testing import RunResult, collect


class EmitOp(BaseAsyncOp):
    """Emits a chunk whose fields were assigned (made, if a function), which nobody has checked."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(name="emit")
        self.fields = fields

    async def async_execute(self) -> None:
        chunk = FlowStreamChunk(chunk="text")
        for name, value in self.fields.items():
            setattr(chunk, name, value() if callable(value) else value)
        await self.context.add_stream_chunk(chunk)
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="after"))


class RespondOp(BaseAsyncOp):
    """Writes into the response, past the checks of its assignment."""

    def __init__(self, field: str, key: Any, kind: str) -> None:
        super().__init__()
        self.field = field
        self.key = key
        self.kind = kind

    async def async_execute(self) -> None:
        if self.field == "answer":
            self.context.response.answer = {"a": 1}
        target: Any = getattr(self.context.response, self.field)
        target[self.key] = {"cyclic": cyclic, "deep": deep, "object": object}[self.kind]()


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def deep() -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(5000):
        value = {"deeper": value}
    return value


async def emitted(**fields: Any) -> RunResult:
    async with FlowApp({}, flows={"f": EmitOp(**fields)}) as app:
        with anyio.fail_after(5):
            return await collect(app, "f")


# --- chunks


async def test_a_type_that_is_assigned_as_text_counts_like_the_type() -> None:
    error = await emitted(chunk_type="error")
    done = await emitted(chunk_type="done")
    answer = await emitted(chunk_type="answer")

    assert error.state is RunState.FAILED
    assert [(chunk.chunk_type, chunk.chunk) for chunk in error.chunks] == [("error", "text")]
    assert (done.state, done.chunks) == (RunState.DONE, [])
    assert answer.texts(ChunkEnum.ANSWER) == ["text", "after"]


async def test_an_answer_whose_type_is_assigned_as_text_is_not_repeated() -> None:
    class AnswerOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            chunk = FlowStreamChunk(chunk="once")
            chunk.chunk_type = "answer"  # pyright: ignore[reportAttributeAccessIssue]
            await self.context.add_stream_chunk(chunk)
            self.context.response.answer = "once"

    async with FlowApp({}, flows={"f": AnswerOp()}) as app:
        result = await collect(app, "f")

    assert [chunk.chunk for chunk in result.chunks] == ["once"]
    assert result.chunks[0].chunk_type is ChunkEnum.ANSWER


@pytest.mark.parametrize(
    "fields",
    [
        {"chunk_type": "é"},
        {"chunk_type": []},
        {"chunk_type": None},
        {"chunk_type": 'x","chunk":"inj'},
        {"chunk": None},
        {"chunk": 5},
        {"chunk": True},
        {"metadata": [1]},
        {"metadata": "x"},
        {"metadata": 5},
        {"done": "perhaps"},
        {"chunk": cyclic},
        {"chunk": deep},
        {"metadata": cyclic},
        {"metadata": deep},
    ],
    ids=lambda fields: " ".join(f"{k}={getattr(v, '__name__', v)}" for k, v in fields.items()),
)
async def test_what_is_no_chunk_is_refused_at_the_border_naming_the_op(
    fields: dict[str, Any],
) -> None:
    result = await emitted(**fields)

    assert [chunk.chunk_type for chunk in result.chunks] == [ChunkEnum.ERROR]
    assert isinstance(result.error, ChunkError)
    assert str(result.chunks[0].chunk).startswith("op 'emit' emitted a chunk of type ")
    assert len(str(result.chunks[0].chunk)) < 1000
    assert result.chunks[0].model_dump_json()


# --- responses


@pytest.mark.parametrize("field", ["answer", "metadata"])
@pytest.mark.parametrize("kind", ["cyclic", "deep", "object"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_that_has_no_json_form_ends_its_own_run_only(
    field: str, kind: str, stream: bool
) -> None:
    class CalmOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.answer = "calm"

    flows = {"bad": RespondOp(field, "x", kind), "good": CalmOp()}
    async with FlowApp({}, flows=flows) as app:
        with anyio.fail_after(5):
            if stream:
                result = await collect(app, "bad")
                assert [chunk.chunk_type for chunk in result.chunks] == [ChunkEnum.ERROR]
                assert isinstance(result.error, ChunkError)
            else:
                with pytest.raises(ChunkError):
                    await app.execute("bad")
            assert (await app.execute("good")).answer == "calm"


async def test_keys_that_are_numbers_become_text_in_a_response() -> None:
    class NumberOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            answer: Any = {"a": 1}
            self.context.response.answer = answer
            held: Any = self.context.response.answer
            held[1] = 2
            metadata: Any = self.context.response.metadata
            metadata[3] = (4, float("inf"))

    async with FlowApp({}, flows={"f": NumberOp()}) as app:
        response = await app.execute("f")

    assert response.answer == {"a": 1, "1": 2}
    assert response.metadata == {"3": [4, "Infinity"]}


async def test_a_generator_in_metadata_is_read_once_and_kept() -> None:
    class GenerateOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.metadata["squares"] = (n * n for n in range(4))

    async with FlowApp({}, flows={"f": GenerateOp()}) as app:
        response = await app.execute("f")

    assert response.metadata == {"squares": [0, 1, 4, 9]}
    assert response.model_dump()["metadata"] == {"squares": [0, 1, 4, 9]}


# --- JSON forms


@pytest.mark.parametrize(
    "value", [cyclic(), deep(), object(), {"a": {object()}}, b"\xff"], ids=lambda _: "value"
)
def test_a_value_without_a_json_form_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's words differ by version
        json_bytes(value)


def test_surrogates_are_joined_or_replaced_also_in_keys() -> None:
    assert json_bytes({"\ud83d\ude00": ["\ud800", ("x",)]}) == '{"😀":["\ufffd",["x"]]}'.encode()
    assert repair_surrogates("\ud83d\ude00 \ude00\ud83d") == "😀 \ufffd\ufffd"
