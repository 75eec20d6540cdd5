"""A model that answers from a script."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import anyio
from pydantic import BaseModel, ConfigDict

from flowcore.backend import ModelSettings
from flowcore.errors import BackendError
from flowcore.llm import BaseLLM, ChatStream
from flowcore.schema import ChunkEnum, FlowStreamChunk, Message, Tool
from flowcore.testing.faults import Fault, inject


class Pause(BaseModel):
    """A wait in a scripted reply, in seconds; ``inf`` waits until the reader leaves."""

    model_config = ConfigDict(extra="forbid")

    pause: float


class ScriptedError(BaseModel):
    """A failure in a scripted reply: it ends with a :class:`BackendError` of this text."""

    model_config = ConfigDict(extra="forbid")

    error: str
    code: str = "scripted_error"


Piece = str | Pause | ScriptedError | FlowStreamChunk
"""A piece of a scripted reply: answer text, a wait, a failure, or any chunk as it is."""


class ScriptedSettings(ModelSettings):
    """Settings of the scripted LLM.

    Attributes:
        replies: What it streams, a list of pieces for each call; after the last it begins again.
        faults: What goes wrong with the replies.
    """

    model_name: str = "scripted"
    replies: list[list[Piece]] = [["scripted answer"]]  # noqa: RUF012 - pydantic copies it
    faults: list[Fault] = []  # noqa: RUF012


@dataclass(frozen=True)
class LLMCall:
    """One call that a :class:`ScriptedLLM` received."""

    messages: list[Message]
    tools: list[Tool]
    params: dict[str, Any]


class ScriptedLLM(BaseLLM):
    """Streams prepared replies and remembers what it was asked.

    Attributes:
        calls: The calls so far.
        open_streams: How many replies are being streamed now; 0 once all are ended or closed.
    """

    Settings = ScriptedSettings
    settings: ScriptedSettings

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.calls: list[LLMCall] = []
        self.open_streams = 0

    async def astream_chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> AsyncGenerator[FlowStreamChunk, None]:
        """Stream the next reply of the script, then a usage chunk."""
        reply = self.settings.replies[len(self.calls) % len(self.settings.replies)]
        self.calls.append(
            LLMCall(list(messages), list(tools or ()), {**self.settings.params, **params})
        )
        stream = inject(_streamed(reply), self.settings.faults, len(self.calls))
        self.open_streams += 1
        try:
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.open_streams -= 1


async def _streamed(reply: Sequence[Piece]) -> ChatStream:
    for piece in reply:
        match piece:
            case Pause():
                await anyio.sleep(piece.pause)
            case ScriptedError():
                raise BackendError(piece.error, code=piece.code)
            case FlowStreamChunk():
                yield piece
            case str():
                yield FlowStreamChunk(chunk=piece)
    yield FlowStreamChunk(
        chunk_type=ChunkEnum.USAGE,
        chunk={"completion_tokens": len(reply)},
        metadata={"finish_reason": "stop"},
    )


def scripted_llm(*replies: Sequence[Piece], faults: Sequence[Fault] = ()) -> ScriptedLLM:
    """Return an LLM to give to an op: ``StreamChatOp(llm=scripted_llm(["Hello"]))``.

    Args:
        *replies: A list of pieces for each call; after the last it begins again.
        faults: What goes wrong with them.
    """
    settings: dict[str, Any] = {"faults": list(faults)}
    if replies:
        settings["replies"] = [list(reply) for reply in replies]
    return ScriptedLLM(ScriptedSettings.model_validate(settings))
