"""Async tests of the test kit run on asyncio and on trio, in an empty folder."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from flowcore import BaseLLM, FlowStreamChunk, Message, ModelSettings, Tool
from tests.docs.upstream import upstream


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty current folder and no variables that say what to record."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name == "CI" or name.upper().endswith("_PROXY") or name.startswith(("FLOW", "OPENAI_")):
            monkeypatch.delenv(name)


@pytest.fixture
def upstream_url() -> Iterator[str]:
    """Address of an API that answers every question alike."""
    with upstream() as url:
        yield url


class EchoLLM(BaseLLM):
    """Streams the question back in words, and counts its calls."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.calls = 0

    async def astream_chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> AsyncGenerator[FlowStreamChunk, None]:
        self.calls += 1
        for word in str(messages[-1].content).split():
            yield FlowStreamChunk(chunk=f"{word} ")


@pytest.fixture
def echo() -> EchoLLM:
    return EchoLLM(ModelSettings(model_name="echo", params={"temperature": 0.5}))
