"""The chat backend ``openai_compatible``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, ClassVar

from flowcore import (
    BackendError,
    BaseLLM,
    FlowStreamChunk,
    Message,
    ModelSettings,
    Tool,
)
from flowcore_openai.documents import documents_of
from flowcore_openai.lazy import LazyEndpoint
from flowcore_openai.patience import Patience, give_up_at
from flowcore_openai.reply import Reply
from flowcore_openai.request import STREAM_DEFAULTS, chat_body, merged_params
from flowcore_openai.retry import wait_to_retry
from flowcore_openai.settings import LLMSettings


class OpenAICompatibleLLM(BaseLLM):
    """A chat model of any server that speaks OpenAI's ``/chat/completions``.

    Args:
        settings: The validated config entry.
    """

    Settings: ClassVar[type[ModelSettings]] = LLMSettings

    def __init__(self, settings: LLMSettings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._endpoint = LazyEndpoint(settings)

    async def astream_chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> AsyncGenerator[FlowStreamChunk, None]:
        """Stream the model's reply to a conversation.

        Args:
            messages: The conversation, oldest first.
            tools: Functions that the model may call.
            **params: Fields of the request, also such as only this server knows; they win over
                those of the config entry, and None takes one away.

        Raises:
            BackendError: If the upstream fails. Before the first content it is retried as
                configured; afterwards never, so that no text comes twice. Its ``code`` is one of
                ``upstream_unreachable``, ``…_busy``, ``…_timeout_connect``,
                ``…_timeout_first_token``, ``…_timeout_idle``, ``…_timeout_total``, ``…_auth``,
                ``…_not_found``, ``…_rejected``, ``…_rate_limited``, ``…_error``, ``…_reset``,
                ``…_truncated``, ``…_invalid``.
        """
        settings = self._settings
        fields, options = merged_params({**STREAM_DEFAULTS, **settings.params}, params)
        body = chat_body(settings.model_name, messages, tools, fields)
        endpoint = await self._endpoint.get()
        deadline = give_up_at(settings.total_timeout)
        attempt = 0
        while True:
            attempt += 1
            reply = Reply(endpoint.failures)
            patience = Patience(deadline, settings.first_token_timeout, settings.idle_timeout)
            try:
                async with endpoint.chat(body, options, patience) as exchange:
                    documents = documents_of(exchange.media_type, endpoint.failures)
                    data: bytes | None = b""
                    while data is not None and not reply.ended:
                        try:
                            data = await exchange.read()
                        except BackendError:
                            # After the finish reason nothing is missing but perhaps the usage.
                            if reply.finish_reason is None:
                                raise
                            data = None
                        heard = False
                        for document in documents.end() if data is None else documents.feed(data):
                            heard = True
                            for chunk in reply.feed(document):
                                yield chunk
                        if heard:
                            patience.heard(content=reply.has_content)
                    for chunk in reply.finish():
                        yield chunk
                    await exchange.drain()
                    return
            except BackendError as error:
                if reply.has_content:
                    raise
                failure = error
            await wait_to_retry(settings, failure, attempt, deadline)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()
