"""The embedding backend ``openai_compatible``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, cast

from pydantic_core import from_json

from flowcore import BackendError, BaseEmbeddingModel, ModelSettings
from flowcore_openai.documents import MAX_BYTES
from flowcore_openai.failures import Failures
from flowcore_openai.lazy import LazyEndpoint
from flowcore_openai.patience import Patience, give_up_at
from flowcore_openai.request import merged_params
from flowcore_openai.retry import wait_to_retry
from flowcore_openai.settings import EmbeddingSettings
from flowcore_openai.surrogates import repaired


class OpenAICompatibleEmbeddingModel(BaseEmbeddingModel):
    """An embedding model of any server that speaks OpenAI's ``/embeddings``.

    Args:
        settings: The validated config entry.
    """

    Settings: ClassVar[type[ModelSettings]] = EmbeddingSettings

    def __init__(self, settings: EmbeddingSettings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._endpoint = LazyEndpoint(settings)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector for each text, in order, asking for ``max_batch_size`` at a time.

        Raises:
            BackendError: If the upstream fails, after the retries, or answers with vectors that
                are too few, malformed or of different lengths.
        """
        size = self._settings.max_batch_size
        vectors: list[list[float]] = []
        for start in range(0, len(texts), size):
            vectors += await self._embed_batch([repaired(t) for t in texts[start : start + size]])
        if len({len(vector) for vector in vectors}) > 1:
            endpoint = await self._endpoint.get()
            raise endpoint.failures.error("upstream_invalid", "vectors of different lengths")
        return vectors

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()

    async def _embed_batch(self, texts: list[str]) -> list[list[float]]:
        settings = self._settings
        fields, options = merged_params(settings.params, {})
        body = {"model": settings.model_name, **fields, "input": texts}
        endpoint = await self._endpoint.get()
        deadline = give_up_at(settings.total_timeout)
        attempt = 0
        while True:
            attempt += 1
            try:
                async with endpoint.embeddings(body, options, Patience(deadline)) as exchange:
                    answer = bytearray()
                    while (data := await exchange.read()) is not None:
                        answer += data
                        if len(answer) > MAX_BYTES:
                            limit = f"the answer is longer than {MAX_BYTES} bytes"
                            raise endpoint.failures.error("upstream_invalid", limit)
                return _vectors(
                    bytes(answer), len(texts), fields.get("dimensions"), endpoint.failures
                )
            except BackendError as error:
                failure = error
            await wait_to_retry(settings, failure, attempt, deadline)


def _vectors(
    answer: bytes, count: int, dimensions: object, failures: Failures
) -> list[list[float]]:
    try:
        data: Any = from_json(answer)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        start = answer[:2000].decode("utf-8", "replace")
        raise failures.error("upstream_invalid", "the answer is no JSON object", detail=start)
    document = cast("dict[str, Any]", data)
    if error := document.get("error"):
        raise failures.error("upstream_error", "the model server reports", detail=error)
    by_index: dict[int, list[float]] = {}
    try:
        for position, item in enumerate(document["data"]):
            index = item.get("index", position)
            if type(index) is not int or index in by_index:
                raise ValueError  # noqa: TRY301 - told below, like all that is malformed
            by_index[index] = _vector(item["embedding"])
        vectors = [by_index[index] for index in range(count)]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise failures.error(
            "upstream_invalid", f"the answer does not hold a vector for each of {count} texts"
        ) from None
    if isinstance(dimensions, int) and any(len(vector) != dimensions for vector in vectors):
        raise failures.error(
            "upstream_invalid",
            f"vectors of {len(vectors[0])} dimensions; params.dimensions asks for {dimensions}",
        )
    return vectors


def _vector(numbers: list[Any]) -> list[float]:
    vector = [float(x) for x in numbers if type(x) in {int, float}]
    if not vector or len(vector) != len(numbers) or not all(map(math.isfinite, vector)):
        raise ValueError
    return vector
