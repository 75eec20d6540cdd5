"""The interface of a language model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from flowcore.backend import Backend, ModelSettings, from_worker
from flowcore.errors import RunFailedError
from flowcore.schema import ChunkEnum, FlowStreamChunk, Message, Role, Tool, ToolCall


class BaseLLM(Backend):
    """A chat model. A backend implements :meth:`astream_chat`; the rest follows from it.

    One object serves all runs of an app at once, so it keeps nothing of a single call.

    Args:
        settings: The validated config entry.
    """

    Settings: ClassVar[type[ModelSettings]] = ModelSettings

    def __init__(self, settings: ModelSettings) -> None:
        self.settings = settings

    @property
    def model_name(self) -> str:
        """Name of the model."""
        return self.settings.model_name

    @abstractmethod
    def astream_chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> AsyncGenerator[FlowStreamChunk, None]:
        """Stream the model's reply to a conversation.

        Yields ``think`` and ``answer`` chunks with non-empty text as they come, one ``tool``
        chunk (the dump of a :class:`ToolCall`) for each complete tool call, and last exactly one
        ``usage`` chunk: the token counts that are known (``prompt_tokens``,
        ``completion_tokens``, ``total_tokens``), with ``finish_reason`` in its metadata.
        Closing the generator stops the generation.

        Args:
            messages: The conversation, oldest first.
            tools: Functions that the model may call.
            **params: Sampling parameters; they win over those of the config entry.

        Raises:
            BackendError: If the model fails; before the first chunk after the backend's own
                retries, later at once.
        """

    async def achat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> Message:
        """Return the model's whole reply.

        The arguments are those of :meth:`astream_chat`. ``metadata`` of the reply holds ``usage``
        and ``finish_reason``.

        Raises:
            BackendError: If the model fails.
        """
        answer: list[str] = []
        thinking: list[str] = []
        reply = Message(role=Role.ASSISTANT)
        async with aclosing(self.astream_chat(messages, tools, **params)) as chunks:
            async for chunk in chunks:
                match chunk.chunk_type:
                    case ChunkEnum.ANSWER:
                        answer.append(str(chunk.chunk))
                    case ChunkEnum.THINK:
                        thinking.append(str(chunk.chunk))
                    case ChunkEnum.TOOL:
                        reply.tool_calls.append(ToolCall.model_validate(chunk.chunk))
                    case ChunkEnum.USAGE:
                        reply.metadata.update({"usage": chunk.chunk, **chunk.metadata})
                    case ChunkEnum.ERROR:
                        raise RunFailedError(str(chunk.chunk), chunk.metadata)
                    case ChunkEnum.DONE:
                        break
        reply.content = "".join(answer)
        reply.reasoning_content = "".join(thinking)
        return reply

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> Message:
        """Blocking twin of :meth:`achat`, for the ``execute`` of a sync op."""
        return from_worker(self.achat, messages, tools, **params)
