"""The reference is complete: what the code knows by name has its place on a page."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import pytest
from docs.generator.markers import parts
from docs.generator.pages import pages
from dotenv import dotenv_values
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

import flowcore
import flowcore_http
from flowcore import (
    ChunkEnum,
    FlowApp,
    FlowConfig,
    FlowcoreError,
    FlowStreamChunk,
    hookspecs,
    sse,
    testing,
)
from flowcore.commands import NAMES
from flowcore.flow import FlowSettings
from flowcore.input_schema import InputField
from flowcore.plugins import PluginHost
from flowcore_http import HttpError, StreamCutError, StreamGapError
from flowcore_http.inflight import InFlight
from flowcore_http.metrics import CODES, Metrics

from .markdown import ROOT, code_spans, page_name, table_rows

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


def settings_classes() -> Iterator[type[BaseModel]]:
    """Yield the classes of all that flowcore's own distributions read from a configuration."""
    yield from (FlowConfig, FlowSettings, InputField)
    host = PluginHost()
    host.add(testing)
    catalog = host.catalog
    for registry in (catalog.llms, catalog.embedding_models, catalog.vector_stores):
        yield from (entry.value.Settings for entry in registry.entries().values())
    yield from (entry.value.Settings for entry in catalog.services.entries().values())


def generated(page: str, name: str) -> list[str]:
    """Return the arguments of all generated parts of this name on a page."""
    found = parts((REFERENCE / page).read_text(encoding="utf-8"))
    return [word for kind, arguments in found if kind == name for word in arguments.split()]


@pytest.fixture(scope="module")
def written() -> dict[Path, str]:
    return pages()


@pytest.mark.parametrize("page", sorted(REFERENCE.rglob("*.md")), ids=page_name)
def test_the_generated_parts_of_a_page_are_what_the_code_says(page: Path, written: dict[Path, str]):
    advice = "write it anew: python -m docs.generator, or nox -s docs_reference"

    assert page.read_text(encoding="utf-8") == written[page], advice


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


def test_the_help_of_every_command_is_in_the_reference():
    # That it is the real one is for test_blocks to say.
    assert {*NAMES} == {*generated("cli.md", "command")}


def test_the_keys_of_every_settings_class_are_in_the_reference():
    found = generated("config.md", "keys")
    named = {word.lstrip("-").rpartition("=")[2].partition(":")[2] for word in found}
    needed = {cls.__name__ for cls in settings_classes()}

    assert len(needed) > 8
    assert needed <= named


def test_every_op_of_a_distribution_is_in_the_reference():
    origins = [entry.origin for entry in PluginHost().catalog.ops.entries().values()]
    ours = {found[1] for origin in origins if (found := re.search(r"\((flowcore-\S+) ", origin))}

    assert {"flowcore-chat", "flowcore-example"} <= ours
    assert ours == {*generated("ops.md", "ops")}


def test_every_type_of_chunk_is_in_the_reference():
    rows = table_rows(REFERENCE / "chunks.md")["Types"]

    assert [(row[0], row[1]) for row in rows] == [({c.value}, {c.name}) for c in ChunkEnum]


def test_the_fields_of_a_chunk_are_in_the_reference():
    rows = table_rows(REFERENCE / "chunks.md")["A chunk"]

    assert set().union(*(row[0] for row in rows)) == {*FlowStreamChunk.model_fields}


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


def test_every_session_of_nox_is_in_the_guide_for_contributors():
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    sessions = set(re.findall(r"^@nox\.session.*\ndef (\w+)", text, re.MULTILINE))
    told = {name for row in table_rows(ROOT / "CONTRIBUTING.md")["Set up"] for name in row[0]}

    assert sessions == told


def test_the_architecture_page_shows_the_floors_that_are_enforced():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers: list[str] = tools["importlinter"]["contracts"][0]["layers"]
    enforced = [
        {name.strip().removeprefix("flowcore.") for name in layer.split("|")} for layer in layers
    ]
    rows = table_rows(ROOT / "docs/explanation/architecture.md")["The floors of the core"]

    assert [row[0] for row in rows] == enforced
