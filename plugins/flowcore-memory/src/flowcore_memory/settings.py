"""The settings of the memory store."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from flowcore import VectorStoreSettings

Metric = Literal["cosine", "dot", "euclidean"]


class MemoryVectorStoreSettings(VectorStoreSettings):
    """Settings of a ``vector_store`` entry with ``backend: memory``.

    Attributes:
        metric: What a score is. ``cosine``: cosine similarity, -1 to 1, and 0 where a vector is
            zero. ``dot``: inner product. ``euclidean``: the distance, negated, 0 at most.
            A higher score is always nearer.
    """

    metric: Metric = "cosine"

    @field_validator("params")
    @classmethod
    def _refuse_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        if params:
            raise ValueError("the memory store takes no params; write 'metric' beside 'backend'")
        return params
