from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from enum import StrEnum
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flowcore import BackendError, BaseLLM, ChunkEnum, FlowStreamChunk, Message, ModelSettings, Tool
from flowcore.testing import cassette_llm
from flowcore.testing.cassette_file import read

FILE = Path("c.yaml")


class Size(StrEnum):
    SMALL = "small"


class Place(BaseModel):
    height: float


class GivenLLM(BaseLLM):
    """Streams what it is given."""

    def __init__(self, *chunks: FlowStreamChunk) -> None:
        super().__init__(ModelSettings(model_name="given"))
        self._chunks = chunks

    async def astream_chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> AsyncGenerator[FlowStreamChunk, None]:
        for chunk in self._chunks:
            yield chunk


async def replay(
    llm: BaseLLM, content: Any = "q", tools: Sequence[Tool] = (), **params: Any
) -> list[FlowStreamChunk]:
    """Record a call, and return what the same call is answered from the file."""
    question = [Message(content=content)]
    async for _ in cassette_llm(FILE, llm, mode="all").astream_chat(question, tools, **params):
        pass
    player = cassette_llm(FILE, llm, mode="none")
    return [chunk async for chunk in player.astream_chat(question, tools, **params)]


AWKWARD = [
    *({"n": inf}, {"n": [-inf, nan]}, {"\ud83d": 1}, {"k": {"\ude00": "\ud83d"}}),
    {"\ud83d\ude00": "😀"},
]


@pytest.mark.parametrize("value", AWKWARD, ids=ascii)
async def test_infinities_nan_and_halves_of_characters_are_replayed(value: dict[str, Any]) -> None:
    chunk = FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk=value, metadata=value)

    replayed = await replay(GivenLLM(chunk))

    assert repr(replayed) == repr([chunk])  # NaN does not equal itself


@pytest.mark.parametrize("value", AWKWARD, ids=ascii)
async def test_they_are_recorded_of_a_request_too(value: dict[str, Any]) -> None:
    tool = Tool(name="t", parameters=value)

    await replay(GivenLLM(), [value], [tool], extra=value)

    [recording] = read(FILE)
    asked = recording.request
    found = [asked["messages"][0]["content"][0], asked["tools"][0]["parameters"]]
    assert repr([*found, asked["params"]["extra"]]) == repr([value] * 3)


async def test_what_json_has_another_form_for_is_replayed_in_that() -> None:
    metadata = {"pair": (1, 2), Size.SMALL: Size.SMALL, "place": Place(height=inf), "map": {1: 2}}

    [chunk] = await replay(GivenLLM(FlowStreamChunk(chunk="a", metadata=metadata)))

    assert chunk.metadata == {
        "pair": [1, 2],
        "small": "small",
        "place": {"height": inf},
        "map": {"1": 2},
    }


async def test_an_enum_may_be_a_parameter() -> None:
    await replay(GivenLLM(), size=Size.SMALL)

    assert read(FILE)[0].request["params"] == {"size": "small"}


async def test_what_cannot_be_written_is_told_at_its_chunk_and_nothing_is_recorded() -> None:
    llm = GivenLLM(FlowStreamChunk(chunk="a"), FlowStreamChunk(chunk="b", metadata={"x": object()}))
    stream = cassette_llm(FILE, llm, mode="all").astream_chat([Message(content="q")])

    assert (await anext(stream)).chunk == "a"
    with pytest.raises(BackendError) as caught:
        await anext(stream)
    said = str(caught.value)
    assert said.startswith("a chunk of type answer of the model 'given' cannot be recorded: ")
    assert "<class 'object'>; a cassette holds texts, numbers" in said
    assert not FILE.exists()


async def test_what_holds_itself_cannot_be_written() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop

    with pytest.raises(BackendError, match="a chunk of type answer of the model 'given' cannot be"):
        await replay(GivenLLM(FlowStreamChunk(metadata=loop)))


@pytest.mark.parametrize(
    ("content", "tools", "what"),
    [
        ([{"x": object()}], [], "a message of role user"),
        ("q", [Tool(name="t", parameters={"x": object()})], "the tool 't'"),
    ],
)
async def test_a_request_that_cannot_be_written_is_told(
    content: Any, tools: list[Tool], what: str
) -> None:
    with pytest.raises(BackendError, match=f"^{what} cannot be recorded: "):
        await replay(GivenLLM(), content, tools)


async def test_what_an_op_makes_of_a_chunk_is_not_recorded() -> None:
    llm = GivenLLM(FlowStreamChunk(chunk={"n": [1]}, metadata={"a": 1}))

    async for chunk in cassette_llm(FILE, llm, mode="all").astream_chat([Message(content="q")]):
        assert isinstance(chunk.chunk, dict)
        chunk.chunk["n"].append(2)
        chunk.metadata.clear()

    [(_, recorded)] = read(FILE)[0].chunks
    assert (recorded.chunk, recorded.metadata) == ({"n": [1]}, {"a": 1})
