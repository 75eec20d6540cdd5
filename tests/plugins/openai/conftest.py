from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest

from flowcore import BackendError, BaseEmbeddingModel, BaseLLM, FlowStreamChunk, Message
from flowcore_openai.embedding import OpenAICompatibleEmbeddingModel
from flowcore_openai.llm import OpenAICompatibleLLM
from flowcore_openai.settings import EmbeddingSettings, LLMSettings

from .upstream import Upstream

CANARY = "sk-canary-4242"


class MakeLLM(Protocol):
    def __call__(self, model: str = "m", **settings: Any) -> BaseLLM: ...


class MakeEmbedding(Protocol):
    def __call__(self, model: str = "m", **settings: Any) -> BaseEmbeddingModel: ...


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().endswith("_PROXY") or name.startswith(("FLOW_", "OPENAI_")):
            monkeypatch.delenv(name)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as stub:
        yield stub


@pytest.fixture
async def llm(upstream: Upstream) -> AsyncIterator[MakeLLM]:
    """Makes an LLM of the stub; its settings are those of the config, with quick retries."""
    async with AsyncExitStack() as stack:

        def make(model: str = "m", **settings: Any) -> BaseLLM:
            section = _section(upstream, model, settings)
            made = OpenAICompatibleLLM(LLMSettings.model_validate(section))
            stack.push_async_callback(made.aclose)
            return made

        yield make


@pytest.fixture
async def embedding(upstream: Upstream) -> AsyncIterator[MakeEmbedding]:
    async with AsyncExitStack() as stack:

        def make(model: str = "m", **settings: Any) -> BaseEmbeddingModel:
            section = _section(upstream, model, settings)
            made = OpenAICompatibleEmbeddingModel(EmbeddingSettings.model_validate(section))
            stack.push_async_callback(made.aclose)
            return made

        yield make


async def text_and_failure(llm: BaseLLM) -> tuple[str, BackendError]:
    """Ask an LLM that fails; return the text that came before the failure, and the failure."""
    text = ""
    try:
        async for chunk in llm.astream_chat([Message(content="hi")]):
            text += str(chunk.chunk)
    except BackendError as error:
        return text, error
    pytest.fail(f"no failure, but {text!r}")


def pair(chunk: FlowStreamChunk) -> tuple[str, Any]:
    return str(chunk.chunk_type), chunk.chunk


def _section(upstream: Upstream, model: str, settings: dict[str, Any]) -> dict[str, Any]:
    defaults = {"base_url": upstream.base_url, "api_key": CANARY, "retry_backoff": 0.01}
    return {"model_name": model, **defaults, **settings}
