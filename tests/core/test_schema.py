from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from flowcore import ChunkEnum, FlowResponse, FlowStreamChunk, Message, Role, Tool


def test_a_chunk_has_the_form_of_the_wire() -> None:
    chunk = FlowStreamChunk(chunk="hi")

    assert chunk.model_dump(mode="json") == {
        "flow_id": "", "chunk_type": "answer", "chunk": "hi", "done": False, "metadata": {},
    }  # fmt: skip


def test_types_may_be_given_as_names() -> None:
    assert FlowStreamChunk.model_validate({"chunk_type": "think"}).chunk_type is ChunkEnum.THINK
    assert Message.model_validate({"role": "system"}).role is Role.SYSTEM
    with pytest.raises(ValidationError):
        FlowStreamChunk.model_validate({"chunk_type": "thought"})


def test_a_field_that_a_chunk_does_not_have_is_refused_and_not_lost() -> None:
    with pytest.raises(ValidationError, match=r"text\n.*not permitted"):
        FlowStreamChunk.model_validate({"text": "hi"})


def test_a_message_of_an_older_client_is_not_refused_for_fields_it_has_more() -> None:
    message = Message.model_validate({"role": "user", "content": "x", "time_created": "now"})

    assert message == Message(content="x")


@pytest.mark.parametrize("answer", ["", "x", {"a": 1}, [1], {}, []])
def test_a_response_takes_text_and_json(answer: Any) -> None:
    response = FlowResponse()
    response.answer = answer

    assert response.model_dump()["answer"] == answer


@pytest.mark.parametrize("answer", [5, None, object()])
def test_a_response_refuses_anything_else_when_it_is_assigned(answer: Any) -> None:
    with pytest.raises(ValidationError):
        FlowResponse().answer = answer


def test_defaults_are_not_shared() -> None:
    Tool(name="a").parameters["properties"]["x"] = 1
    FlowStreamChunk().metadata["x"] = 1
    FlowResponse().metadata["x"] = 1

    assert Tool(name="b").parameters == {"type": "object", "properties": {}}
    assert (FlowStreamChunk().metadata, FlowResponse().metadata) == ({}, {})
