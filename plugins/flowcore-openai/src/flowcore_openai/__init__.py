"""LLMs and embedding models of any OpenAI-compatible API, under the name ``openai_compatible``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowcore import hookimpl

if TYPE_CHECKING:
    from flowcore import BaseEmbeddingModel, BaseLLM, Registrar


@hookimpl
def flowcore_register_llms(llms: Registrar[BaseLLM]) -> None:
    """Register the chat backend."""
    from flowcore_openai.llm import OpenAICompatibleLLM  # noqa: PLC0415

    llms.add(OpenAICompatibleLLM, "openai_compatible")


@hookimpl
def flowcore_register_embedding_models(embedding_models: Registrar[BaseEmbeddingModel]) -> None:
    """Register the embedding backend."""
    from flowcore_openai.embedding import OpenAICompatibleEmbeddingModel  # noqa: PLC0415

    embedding_models.add(OpenAICompatibleEmbeddingModel, "openai_compatible")
