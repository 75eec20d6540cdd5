"""The interface of an embedding model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import overload

from flowcore.backend import Backend, ModelSettings
from flowcore.worker import from_worker


class BaseEmbeddingModel(Backend, ABC):
    """Turns texts into vectors. A backend implements :meth:`embed`.

    Args:
        settings: The validated config entry.
    """

    Settings = ModelSettings

    def __init__(self, settings: ModelSettings) -> None:
        self.settings = settings

    @property
    def model_name(self) -> str:
        """Name of the model."""
        return self.settings.model_name

    @abstractmethod
    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector for each text, in order; all have the same length.

        Raises:
            BackendError: If the model fails.
        """

    @overload
    async def async_get_embeddings(self, input_text: str) -> list[float]: ...
    @overload
    async def async_get_embeddings(self, input_text: list[str]) -> list[list[float]]: ...
    async def async_get_embeddings(
        self, input_text: str | list[str]
    ) -> list[float] | list[list[float]]:
        """Return the vector of one text, or the vectors of several.

        Raises:
            BackendError: If the model fails.
        """
        if isinstance(input_text, str):
            return (await self.embed([input_text]))[0]
        return await self.embed(input_text) if input_text else []

    @overload
    def get_embeddings(self, input_text: str) -> list[float]: ...
    @overload
    def get_embeddings(self, input_text: list[str]) -> list[list[float]]: ...
    def get_embeddings(self, input_text: str | list[str]) -> list[float] | list[list[float]]:
        """Blocking twin of :meth:`async_get_embeddings`, for the ``execute`` of a sync op."""
        if isinstance(input_text, str):
            return from_worker(self.async_get_embeddings, input_text)
        return from_worker(self.async_get_embeddings, input_text)
