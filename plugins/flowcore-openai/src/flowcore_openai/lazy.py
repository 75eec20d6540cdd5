"""An endpoint that is made on first use."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from flowcore_openai.settings import OPENAI_URL, EndpointSettings

if TYPE_CHECKING:
    from flowcore_openai.endpoint import Endpoint

logger = logging.getLogger("flowcore.openai")


class LazyEndpoint:
    """Holds the endpoint of one backend object.

    Args:
        settings: Settings of the endpoint.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        if settings.api_key is None and settings.base_url == OPENAI_URL:
            # Else the first sign would be a refusal by a server that nobody had chosen.
            kind = settings.key_variable.removesuffix("_API_KEY")
            logger.warning(
                "model %r: neither %s_BASE_URL nor %s_API_KEY is set; requests go to %s",
                *(settings.model_name, kind, kind, OPENAI_URL),
            )
        self._settings = settings
        self._endpoint: Endpoint | None = None
        self._opening = anyio.Lock()

    async def get(self) -> Endpoint:
        """Return the endpoint."""
        if self._endpoint is None:
            async with self._opening:
                if self._endpoint is None:
                    # The SDK takes about a second to import, and TLS certificates a while to load.
                    self._endpoint = await anyio.to_thread.run_sync(self._make)
        return self._endpoint

    async def aclose(self) -> None:
        """Close the endpoint if there is one."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            await endpoint.aclose()

    def _make(self) -> Endpoint:
        from flowcore_openai.endpoint import Endpoint  # noqa: PLC0415

        return Endpoint(self._settings)
