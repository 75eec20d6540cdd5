"""One configured endpoint: the SDK's client with its connection pool. Importing this is slow."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2
import openai

from flowcore_openai.exchange import Exchange
from flowcore_openai.failures import Failures
from flowcore_openai.network import use_body_streams
from flowcore_openai.patience import Patience
from flowcore_openai.refusal import refuse_errors
from flowcore_openai.settings import EndpointSettings

_NO_KEY = "no-key"
_KEEPALIVE_SECONDS = 30
_MOST_IDLE = 50  # the pool looks at every idle connection at each request
_CHAT_FIELDS = frozenset({"model", "messages", "stream"})
_EMBEDDING_FIELDS = frozenset({"model", "input", "encoding_format"})


class Endpoint:
    """The client of one configured model.

    Args:
        settings: Where the model is served and with which limits.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.failures = Failures(settings)
        url = urlsplit(settings.base_url)
        user, has_user, host = url.netloc.rpartition("@")
        name, _, password = user.partition(":")
        timeout = httpx2.Timeout(
            None, connect=settings.connect_timeout, pool=settings.connect_timeout
        )
        http_client = httpx2.AsyncClient(
            auth=(unquote(name), unquote(password)) if has_user else None,
            event_hooks={"response": [refuse_errors(self.failures)]},
            follow_redirects=False,
            limits=httpx2.Limits(
                max_connections=settings.max_connections,
                max_keepalive_connections=min(settings.max_connections, _MOST_IDLE),
                keepalive_expiry=_KEEPALIVE_SECONDS,
            ),
            timeout=timeout,
        )
        use_body_streams(http_client)
        self._client = openai.AsyncOpenAI(
            api_key=settings.api_key.get_secret_value() if settings.api_key else _NO_KEY,
            base_url=url._replace(netloc=host, query="", fragment="").geturl(),
            default_query=dict(parse_qsl(url.query)),
            http_client=http_client,
            max_retries=0,
            timeout=timeout,
        )
        # The SDK reads these from its own environment variables and would send them to any host.
        self._client.organization = None
        self._client.project = None

    def chat(
        self,
        body: Mapping[str, Any],
        options: Mapping[str, Any],
        patience: Patience,
    ) -> Exchange:
        """Return the exchange of a streamed chat completion, to be entered."""

        def send() -> AbstractAsyncContextManager[Any]:
            create = cast("Any", self._client.chat.completions.with_streaming_response.create)
            return create(
                model=body["model"],
                messages=body["messages"],
                stream=True,
                extra_body={k: v for k, v in body.items() if k not in _CHAT_FIELDS},
                **options,
            )

        return Exchange(send, self.failures, patience)

    def embeddings(
        self,
        body: Mapping[str, Any],
        options: Mapping[str, Any],
        patience: Patience,
    ) -> Exchange:
        """Return the exchange of an embedding request, to be entered."""

        def send() -> AbstractAsyncContextManager[Any]:
            create = cast("Any", self._client.embeddings.with_streaming_response.create)
            return create(
                model=body["model"],
                input=body["input"],
                encoding_format="float",
                extra_body={k: v for k, v in body.items() if k not in _EMBEDDING_FIELDS},
                **options,
            )

        return Exchange(send, self.failures, patience)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.close()
