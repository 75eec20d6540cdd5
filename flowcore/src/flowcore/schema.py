"""The data that flows exchange with models and callers."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Role(StrEnum):
    """Who speaks in a :class:`Message`."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ChunkEnum(StrEnum):
    """What a :class:`FlowStreamChunk` carries."""

    THINK = "think"
    ANSWER = "answer"
    TOOL = "tool"
    USAGE = "usage"
    ERROR = "error"
    DONE = "done"


class Tool(BaseModel):
    """A function that a model may call.

    Attributes:
        name: Name by which the model calls it.
        description: When and why to call it.
        parameters: JSON Schema of the arguments; an object schema.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})


class ToolCall(BaseModel):
    """One call of a function, as asked for by a model.

    Attributes:
        id: Identifier that the answer (a message of role ``tool``) refers to.
        name: Name of the function.
        arguments: Arguments as JSON text, exactly as the model wrote them.
    """

    id: str = ""
    name: str
    arguments: str = ""


class Message(BaseModel):
    """One message of a conversation.

    Attributes:
        role: Who speaks.
        content: Text, or a list of content parts in the form of the OpenAI API.
        reasoning_content: The model's thinking, kept apart from the answer.
        tool_calls: Functions that the model wants to call.
        tool_call_id: For role ``tool``: the call that this message answers.
        name: Name of the speaker or of the tool, where there is one.
        metadata: Anything else; never sent to a model.
    """

    # Older clients send fields such as time_created; a message is not refused for them.
    model_config = ConfigDict(extra="ignore")

    role: Role = Role.USER
    content: str | list[dict[str, Any]] = ""
    reasoning_content: str = ""
    tool_calls: list[ToolCall] = Field(default_factory=list[ToolCall])
    tool_call_id: str = ""
    name: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class FlowStreamChunk(BaseModel):
    """One piece of a stream.

    Attributes:
        flow_id: Identifier of the run; set when an op emits the chunk.
        chunk_type: What the piece is.
        chunk: Text or data, whatever the type. Models send text for ``think`` and ``answer``, a
            dict for ``tool`` (a :class:`ToolCall`) and ``usage`` (token counts); flowcore sends
            text for ``error``.
        done: Kept for clients of the earlier framework; the end of a stream is ``[DONE]``.
        metadata: Anything else, such as ``{"finish_reason": "length"}``.
    """

    # A misspelt field would be a lost text.
    model_config = ConfigDict(extra="forbid")

    flow_id: str = ""
    chunk_type: ChunkEnum = ChunkEnum.ANSWER
    chunk: str | dict[str, Any] | list[Any] = ""
    done: bool = False
    metadata: dict[str, Any] = Field(default_factory=dict)


class FlowResponse(BaseModel):
    """The answer of a flow that is not streamed.

    Attributes:
        answer: Text or JSON data.
        success: False when the op that wrote it says so.
        metadata: Anything else.
    """

    model_config = ConfigDict(validate_assignment=True)

    answer: str | dict[str, Any] | list[Any] = ""
    success: bool = True
    metadata: dict[str, Any] = Field(default_factory=dict)


class VectorNode(BaseModel):
    """One entry of a vector store.

    Attributes:
        unique_id: Identifier within its workspace.
        workspace_id: Workspace it belongs to; set by the store.
        content: Text that is embedded.
        vector: Embedding; computed by the store's embedding model when absent.
        metadata: JSON data to filter by.
        score: Similarity to the query, in search results only; higher is nearer.
    """

    unique_id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    workspace_id: str = ""
    content: str = ""
    vector: list[float] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    score: float | None = None
