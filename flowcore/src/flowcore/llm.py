"""The interface of a language model."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from functools import wraps
from typing import Any, cast

import anyio

from flowcore.backend import Backend, ModelSettings
from flowcore.errors import RunFailedError
from flowcore.leftover import refuse_arguments
from flowcore.schema import ChunkEnum, FlowStreamChunk, Message, Role, Tool, ToolCall
from flowcore.worker import from_worker

logger = logging.getLogger("flowcore")

CLOSE_TIMEOUT = 5.0
"""How long an unfinished stream may take to close, in seconds."""

ChatStream = AsyncGenerator[FlowStreamChunk, None]

open_streams: ContextVar[list[ChatStream] | None] = ContextVar("open_streams", default=None)
"""The streams that the running op has opened; it closes them when it ends.

An op that is cancelled between two chunks, or that breaks out of its loop, would otherwise leave
its stream, and the request to the model, to the garbage collector.
"""


class BaseLLM(Backend, ABC):
    """A chat model. A backend implements :meth:`astream_chat`; the rest follows from it.

    One object serves all runs of an app at once, so it keeps nothing of a single call.

    Args:
        settings: The validated config entry.
    """

    Settings = ModelSettings

    def __init__(self, settings: ModelSettings) -> None:
        self.settings = settings

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "astream_chat" in vars(cls):
            cls.astream_chat = _tracked(cls.astream_chat)

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


def _tracked(astream_chat: Callable[..., ChatStream]) -> Callable[..., ChatStream]:
    @wraps(astream_chat)
    def tracked(
        self: BaseLLM, messages: Sequence[Message], *args: Any, **kwargs: Any
    ) -> ChatStream:
        _check_messages(messages)
        if kwargs:
            refuse_arguments(kwargs)
        stream = astream_chat(self, messages, *args, **kwargs)
        opened = open_streams.get()
        if opened is not None:
            opened[:] = [other for other in opened if not _is_finished(other)]
            opened.append(stream)
        return stream

    return tracked


def _check_messages(messages: object) -> None:
    wrong = messages
    if isinstance(messages, Sequence) and not isinstance(messages, str):
        sent = cast("Sequence[object]", messages)
        wrong = next((each for each in sent if not isinstance(each, Message)), None)
    if wrong is not None:
        raise TypeError(
            "a model takes a list of messages, such as [Message(content='Hello')]; "
            f"a {type(wrong).__name__} is none"
        )


def _is_finished(stream: ChatStream) -> bool:
    return getattr(stream, "ag_frame", stream) is None


async def close_streams(streams: list[ChatStream]) -> None:
    """Close streams that were not read to their end; errors are logged."""
    with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
        for stream in streams:
            try:
                await stream.aclose()
            except Exception:
                logger.exception("a stream of an LLM failed to close")
