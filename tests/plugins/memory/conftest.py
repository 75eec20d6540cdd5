from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import pytest

from flowcore import BaseEmbeddingModel, ModelSettings
from flowcore_memory.settings import MemoryVectorStoreSettings
from flowcore_memory.store import MemoryVectorStore


class HashedTrigrams(BaseEmbeddingModel):
    """Counts the character trigrams of a text in 64 hashed buckets; keeps what it was asked."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.calls: list[list[str]] = []

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls.append(list(texts))
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> list[float]:
        counts = [0.0] * 64
        padded = f"  {text.lower()} "
        for start in range(len(padded) - 2):
            counts[zlib.crc32(padded[start : start + 3].encode()) % 64] += 1.0
        length = math.hypot(*counts)
        return [count / length for count in counts]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model() -> HashedTrigrams:
    return HashedTrigrams(ModelSettings(model_name="trigrams"))


@pytest.fixture
def store(model: HashedTrigrams) -> MemoryVectorStore:
    return MemoryVectorStore(MemoryVectorStoreSettings(), model)
