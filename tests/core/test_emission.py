from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from flowcore import ChunkEnum, FlowStreamChunk
from flowcore.emission import is_bare, own_chunk, text_chunk, text_size


@pytest.mark.parametrize("text", ["a", "中文", "😀", " ", "\0\n", "x" * 10_000])
@pytest.mark.parametrize("kind", [ChunkEnum.ANSWER, ChunkEnum.THINK])
def test_the_quick_copy_of_a_plain_text_is_what_the_careful_one_is(
    text: str, kind: ChunkEnum
) -> None:
    chunk = FlowStreamChunk(chunk_type=kind, chunk=text)

    assert is_bare(chunk)
    quick = text_chunk(text, "run", kind), text_size(text, kind)

    assert quick == own_chunk(chunk, "run", "op")


@pytest.mark.parametrize(
    "fields",
    [
        {"chunk": ""},
        {"chunk": "a\ud83d"},
        {"chunk": {"a": 1}},
        {"chunk": type("Text", (str,), {})("a")},
        {"done": True},
        {"done": 0},
        {"metadata": {"a": 1}},
        {"metadata": None},
        {"chunk_type": "answer"},
        {"chunk_type": ChunkEnum.TOOL},
        {"chunk_type": ChunkEnum.ERROR},
        {"chunk_type": ChunkEnum.DONE},
    ],
    ids=repr,
)
def test_all_else_is_no_plain_text(fields: dict[str, Any]) -> None:
    chunk = FlowStreamChunk(chunk="a").model_copy(update=fields)

    assert not (is_bare(chunk) and text_size(chunk.chunk, chunk.chunk_type))


@pytest.mark.parametrize("thing", ["a", None, type("MyChunk", (FlowStreamChunk,), {})(chunk="a")])
def test_what_is_no_chunk_or_one_of_a_class_of_its_own_is_no_bare_chunk(thing: object) -> None:
    assert not is_bare(thing)


def test_a_text_chunk_is_a_model_like_any_other() -> None:
    chunk = text_chunk("hello", "run")
    same = FlowStreamChunk(
        flow_id="run", chunk_type=ChunkEnum.ANSWER, chunk="hello", done=False, metadata={}
    )

    assert chunk == same
    assert repr(chunk) == repr(same)
    assert chunk.model_fields_set == same.model_fields_set
    assert chunk.model_dump_json() == same.model_dump_json()
    assert chunk.model_dump(exclude_unset=True) == same.model_dump(exclude_unset=True)
    for twin in (
        copy.copy(chunk),
        copy.deepcopy(chunk),
        chunk.model_copy(),
        pickle.loads(pickle.dumps(chunk)),
        FlowStreamChunk.model_validate(chunk.model_dump()),
    ):
        assert twin == same


def test_what_is_done_to_one_text_chunk_changes_no_other() -> None:
    first, second = text_chunk("first", "run"), text_chunk("second", "run")

    first.chunk = "changed"
    first.metadata["a"] = 1

    assert (second.chunk, second.metadata) == ("second", {})
