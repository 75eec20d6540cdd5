"""LLMs and embedding models of any OpenAI-compatible API, under the name ``openai_compatible``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowcore import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowcore import BaseEmbeddingModel, BaseLLM, Finding, FlowConfig, Registrar


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


@hookimpl
def flowcore_diagnose(config: FlowConfig, online: bool) -> Iterable[Finding]:
    """Tell of the endpoints, their keys and their limits."""
    from flowcore_openai.diagnosis import diagnose  # noqa: PLC0415

    return diagnose(config, online)
