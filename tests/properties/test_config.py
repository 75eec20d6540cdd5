"""The configuration: whatever stands in it, it is read or refused with one message, and soon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from flowcore import ConfigError, FlowApp, FlowConfig, load_config
from flowcore.config_source import environment_layer, override_layer, yaml_layer

KEYS = [
    "backend", "thread_pool_max_workers", "language", "imports", "flow", "llm", "embedding_model",
    "vector_store", "stream_buffer_chunks", "http", "cors", "port", "default", "flow_content",
    "stream", "description", "input_schema", "type", "required", "items", "properties", "enum",
    "model_name", "params", "demo", "x", "", "<<", "_x", "model_config", "__class__", "a.b",
    "\u2028",
]  # fmt: skip
VALUES = [
    "http", "nowhere", "DemoOp()", "string", "array", "object", "integer", "${HOME}", "${NOWHERE}",
    "${NOWHERE:-5}", "$$", "${", "on", "0x10", "1e999", ".nan", "2020-01-01", "~", "=", "\0",
    "\x1b[0m", "\ufeff", "\ud800", "*a", "&a", "!!python/name:os.system", "9" * 5000, "null",
    "true", "-1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(*sources: Any, seconds: float = 2.0) -> FlowConfig | str:
    """Load a configuration and make its app; return it, or the message that refuses it."""
    return refused(lambda: checked(load_config(*sources)), seconds)


def checked(config: FlowConfig) -> FlowConfig:
    FlowApp(config, plugins=[])
    return config


def refused(make: Callable[[], Any], seconds: float = 2.0) -> Any:
    """Return what `make` returns, or the text of the one kind of error that it may raise."""
    began = time.process_time()
    try:
        made = make()
    except ConfigError as error:
        made = str(error)
    assert time.process_time() - began < seconds
    return made


TOKENS = [
    *KEYS, *VALUES, ": ", ":", "\n", "\n  ", "\n    ", "\n\t", "\n- ", "- ", "[", "]", "{", "}",
    ", ", "'", '"', "|\n", ">-\n", "&a ", "&b ", "*a", "*b", "<<: *a\n", "? ", "!!int ", "!!float ",
    "!!binary ", "!!set ", "!!omap ", "!!timestamp ", "!!null ", "!!map ", "!!str ", "!x ", "---\n",
    "...\n", "%YAML 1.1\n---\n", "%TAG ! tag:x,2000:\n", "# ", "\r", "\x85", "@", "`", "\\",
    '"\\x00"', '"\\ud800"', "0o17", "1_000", "190:20:30", "+.inf", "key: &a [*a]\n",
]  # fmt: skip


@given(
    text=st.lists(st.sampled_from(TOKENS) | st.text(st.characters(), max_size=3), max_size=25).map(
        "".join
    )
)
@example(text="a: &a [*a]\n")
@example(text="[" * 100_000)
@example(text="{a: " * 100_000)
@example(text="- " * 100_000)
@example(text="a: " + "9" * 100_000)
@example(text="a: 0x" + "f" * 100_000)
@example(text="a: " + ":".join(["59"] * 50_000))
@example(text="? " * 50_000)
@example(text="a: &a x\n" + "".join(f"b{i}: *a\n" for i in range(20_000)))
def test_a_text_is_read_as_yaml_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))

    made = refused(lambda: yaml_layer(path, {}), seconds=10)

    if isinstance(made, str):
        assert "my.yaml" in made
        assert len(made) < 2000
    else:
        assert isinstance(made.data, dict)
        read(path, seconds=10)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(VALUES) | st.text(),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), values, max_size=4)
    ),
    max_leaves=12,
)
fields = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(
                ["string", "integer", "number", "boolean", "array", "object", "date", "strnig"]
            ),
            "required": st.booleans() | plain,
            "default": plain,
            "enum": st.lists(plain, max_size=3) | plain,
            "description": st.text(max_size=3) | plain,
        },
    ),
    lambda inner: (
        st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(lambda one: {"type": "object", "properties": {"x": one}}, inner)
    ),
    max_leaves=3,
)
flows = st.fixed_dictionaries(
    {"flow_content": st.sampled_from(["SequentialOp()", "EchoOp()", "", "x y"]) | plain},
    optional={
        "stream": st.booleans() | plain,
        "input_schema": st.dictionaries(st.sampled_from(KEYS), fields | plain, max_size=3) | plain,
        "deadlines": plain,
        "on_disconnect": plain,
        "steam": plain,
    },
)
configs = st.fixed_dictionaries(
    {},
    optional={
        "flow": st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), flows, max_size=2)
        | plain,
        "llm": st.dictionaries(st.sampled_from(KEYS), plain, max_size=2) | plain,
        "imports": st.lists(st.sampled_from(VALUES), max_size=2) | plain,
        "backend": plain,
        "http": st.dictionaries(st.sampled_from(KEYS), plain, max_size=3) | plain,
        "thread_pool_max_workers": plain,
        "language": plain,
    },
)


@given(config=configs)
def test_values_of_any_kind_are_taken_or_refused(config: dict[str, Any]) -> None:
    read(config)


@given(config=configs)
def test_a_file_says_what_its_values_say(tmp_path: Path, config: dict[str, Any]) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(escaped(config)), encoding="utf-8")

    read(path)
    made = refused(lambda: yaml_layer(path, {}))
    assert isinstance(made, str) or as_json(made.data) == as_json(config)


def escaped(value: Any) -> Any:
    """Return the value as a file has to spell it: `$` begins a variable, save in keys."""
    if isinstance(value, dict):
        return {key: escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [escaped(inner) for inner in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


words = st.lists(
    st.sampled_from([*KEYS, *VALUES, ".", "=", "__", "[", "]", "{", "}", ","]), max_size=6
)


@given(key=words.map("".join), value=words.map("".join), first=st.sampled_from(KEYS))
def test_arguments_and_variables_are_taken_or_refused(key: str, value: str, first: str) -> None:
    refused(lambda: override_layer([f"{first}=1", f"{key}={value}", f"{key}.{first}={value}"]))
    refused(
        lambda: environment_layer({f"FLOWCORE_{key}": value, f"FLOWCORE_{key}__{first}": value})
    )
    read({}, f"{key}={value}")
