"""One model for all tests, and what they ask its engine."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

from flowcore import FlowStreamChunk, Message
from flowcore_llamacpp.llm import LlamaCppLLM
from flowcore_llamacpp.settings import LlamaCppSettings

MakeLLM = Callable[..., LlamaCppLLM]
Metric = Callable[[str], Awaitable[float]]

LINE = re.compile(r"^llamacpp:(\w+) (\S+)$", re.MULTILINE)

# A template that has what SmolLM2's lacks: tools, and a reply that begins with thinking.
TOOL_TEMPLATE = r"""
{%- if tools %}
{{- '<|im_start|>system\nCall functions with <tool_call></tool_call>.\n<tools>' }}
{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\n</tools><|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' and message.tool_calls %}
{{- '<|im_start|>assistant' }}
{%- if message.content %}{{- '\n' + message.content }}{%- endif %}
{%- for call in message.tool_calls %}
{%- set call = call.function %}
{{- '\n<tool_call>\n{"name": "' }}{{- call.name }}{{- '", "arguments": ' }}
{{- call.arguments | tojson }}{{- '}\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\n' }}
{%- elif message.role == 'tool' %}
{{- '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""
THINK_TEMPLATE = r"""
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' }}
{%- if message.role == 'assistant' and message.reasoning_content %}
{{- '<think>\n' + message.reasoning_content + '\n</think>\n\n' }}
{%- endif %}
{{- message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _make(model_name: str = "smollm2", **params: Any) -> LlamaCppLLM:
    return LlamaCppLLM(LlamaCppSettings(model_name=model_name, params=params))


@pytest.fixture
def make_llm() -> Iterator[MakeLLM]:
    made: list[LlamaCppLLM] = []

    def make(*args: Any, **params: Any) -> LlamaCppLLM:
        made.append(_make(*args, **params))
        return made[-1]

    yield make
    for llm in made:
        anyio.run(llm.aclose)


@pytest.fixture(scope="session")
def llm() -> Iterator[LlamaCppLLM]:
    llm = _make(temperature=0)
    yield llm
    anyio.run(llm.aclose)


@pytest.fixture
def metric(llm: LlamaCppLLM) -> Metric:
    """Read a metric of the engine; the batch that it is at ends first."""

    async def metric(name: str) -> float:
        text = await anyio.to_thread.run_sync(lambda: llm._model.server().handle_metrics())
        return next(float(value) for key, value in LINE.findall(text) if key == name)

    return metric


@pytest.fixture
def engine_idle(metric: Metric) -> Callable[[], Awaitable[None]]:
    """Wait until nothing is generated, less time than what was asked for would take."""

    async def engine_idle() -> None:
        with anyio.fail_after(20):
            while await metric("requests_processing"):
                pass

    return engine_idle


@pytest.fixture
def colors() -> list[Message]:
    return [Message(content="Name three colors.")]


async def _drain(chunks: AsyncGenerator[FlowStreamChunk, None]) -> list[FlowStreamChunk]:
    return [chunk async for chunk in chunks]


@pytest.fixture
def drain() -> Callable[[AsyncGenerator[FlowStreamChunk, None]], Awaitable[list[FlowStreamChunk]]]:
    return _drain


@pytest.fixture
def tool_template() -> str:
    return TOOL_TEMPLATE


@pytest.fixture
def think_template() -> str:
    return THINK_TEMPLATE
