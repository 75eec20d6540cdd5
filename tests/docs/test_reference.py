"""The reference is complete: what the code knows by name has its place on a page."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Iterator
from inspect import signature

import pytest
from dotenv import dotenv_values
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

import flowcore
import flowcore_http
from flowcore import Deadlines, FlowApp, FlowConfig, FlowcoreError, hookspecs, sse, testing
from flowcore.commands import NAMES
from flowcore.flow import FlowSettings
from flowcore.input_schema import InputField
from flowcore.testing import ScriptedSettings
from flowcore_http import (
    CorsSettings,
    HttpError,
    HttpSettings,
    ReplaySettings,
    StreamCutError,
    StreamGapError,
)
from flowcore_http.inflight import InFlight
from flowcore_http.metrics import CODES, Metrics
from flowcore_llamacpp.settings import EngineParams, LlamaCppSettings
from flowcore_memory.settings import MemoryVectorStoreSettings
from flowcore_openai.settings import EmbeddingSettings, LLMSettings

from .markdown import ROOT, blocks, code_spans, table_rows

REFERENCE = ROOT / "docs" / "reference"
PUBLIC = [
    *flowcore.__all__,
    *flowcore_http.__all__,
    *testing.__all__,
    *(
        name
        for name, value in vars(sse).items()
        if getattr(value, "__module__", "") == sse.__name__
    ),
]
HOOKS = [
    f"{name}({', '.join(signature(hook).parameters)})"
    for name, hook in vars(hookspecs).items()
    if name.startswith("flowcore_")
]


def errors(base: type[FlowcoreError]) -> Iterator[type[FlowcoreError]]:
    """Yield an error of flowcore's own and all that derive from it."""
    if base.__module__.startswith("flowcore."):
        yield base
    for error in base.__subclasses__():
        yield from errors(error)


def keys(*models: type[BaseModel], prefix: str = "") -> set[str]:
    return {f"{prefix}{name}" for model in models for name in model.model_fields}


CONFIG_KEYS = {
    "Top level": keys(FlowConfig) - {"deadlines"} | keys(Deadlines, prefix="deadlines."),
    "flow": keys(FlowSettings, InputField),
    "http": (
        keys(HttpSettings) - {"cors", "replay"}
        | keys(CorsSettings, prefix="cors.")
        | keys(ReplaySettings, prefix="replay.")
    ),
    "openai_compatible": keys(LLMSettings, EmbeddingSettings),
    "llamacpp": keys(LlamaCppSettings) | keys(EngineParams, prefix="params."),
    "memory": keys(MemoryVectorStoreSettings),
    "scripted": keys(ScriptedSettings),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_in_the_python_reference(name: str):
    assert name in code_spans(REFERENCE / "python-api.md")


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_in_the_reference_with_its_arguments(hook: str):
    assert hook in code_spans(REFERENCE / "hooks.md")


@pytest.mark.parametrize(
    "error", [*errors(FlowcoreError), HttpError, StreamCutError, StreamGapError]
)
def test_every_error_is_in_the_reference_with_its_code(error: type[FlowcoreError]):
    rows = table_rows(REFERENCE / "errors.md")["Errors"]

    assert [row for row in rows if error.__name__ in row[0] and error.code in row[1]]


@pytest.mark.parametrize("command", NAMES)
def test_the_help_of_every_command_is_in_the_reference(command: str):
    # That it is the real one is for test_blocks to say.
    shown = [block.text for block in blocks(REFERENCE / "cli.md")]

    assert [text for text in shown if text.startswith(f"$ flowcore {command} --help\n")]


@pytest.mark.parametrize("section", CONFIG_KEYS)
def test_the_reference_has_exactly_the_config_keys_that_there_are(section: str):
    rows = table_rows(REFERENCE / "config.md")[section]

    assert set().union(*(row[0] for row in rows)) == CONFIG_KEYS[section]


def test_every_metric_is_on_the_page_about_observing():
    rows = table_rows(ROOT / "docs/how-to/observe.md")["Metrics"]
    text, _ = asyncio.run(Metrics(FlowApp({}), InFlight()).render(""))
    families = text_string_to_metric_families(text.decode())
    names = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}

    shown = set().union(*(row[0] for row in rows)) - {"process_…"}

    assert {n for n in names if n.startswith("flowcore_") and not n.endswith("_created")} == shown


def test_every_code_of_a_backend_has_a_label_of_its_own():
    rows = table_rows(REFERENCE / "errors.md")["Codes of backends"]

    assert set().union(*(row[0] for row in rows)) <= CODES


def test_every_variable_of_example_env_is_in_the_reference():
    names = dotenv_values(ROOT / "example.env").keys()

    assert names
    assert names <= code_spans(REFERENCE / "config.md")


def test_the_architecture_page_shows_the_floors_that_are_enforced():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers: list[str] = tools["importlinter"]["contracts"][0]["layers"]
    enforced = [
        {name.strip().removeprefix("flowcore.") for name in layer.split("|")} for layer in layers
    ]
    rows = table_rows(ROOT / "docs/explanation/architecture.md")["The floors of the core"]

    assert [row[0] for row in rows] == enforced
