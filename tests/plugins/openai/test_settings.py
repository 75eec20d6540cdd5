"""The config keys, and how the plugin is found."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from typing import Any

import pytest
from pydantic import ValidationError

from flowcore_openai.settings import EmbeddingSettings, LLMSettings

from .conftest import CANARY

ENVIRONMENT = {
    "FLOW_LLM_API_KEY": CANARY,
    "FLOW_LLM_BASE_URL": "http://127.0.0.1:1/v1",
    "FLOW_EMBEDDING_API_KEY": "other",
    "FLOW_EMBEDDING_BASE_URL": "http://127.0.0.1:2/v1",
}


def llm_settings(environment: dict[str, str] | None = None, **section: Any) -> LLMSettings:
    return LLMSettings.model_validate(
        LLMSettings.complete({"model_name": "m", **section}, environment or {})
    )


def test_key_and_url_come_from_the_environment():
    llm = llm_settings(ENVIRONMENT)
    embedding = EmbeddingSettings.model_validate(
        EmbeddingSettings.complete({"model_name": "m"}, ENVIRONMENT)
    )
    assert llm.api_key is not None
    assert llm.api_key.get_secret_value() == CANARY
    assert (llm.base_url, embedding.base_url) == ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1")


def test_the_entry_wins_over_the_environment():
    settings = llm_settings(ENVIRONMENT, api_key="mine", base_url="https://x.example/v1")
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "mine"
    assert settings.base_url == "https://x.example/v1"


def test_without_any_url_it_is_openai_s():
    assert llm_settings().base_url == "https://api.openai.com/v1"
    assert llm_settings(base_url=None).base_url == "https://api.openai.com/v1"


def test_the_key_is_not_shown_and_its_newline_is_cut():
    settings = llm_settings(api_key=f" {CANARY}\n")
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == CANARY
    for text in (repr(settings), str(settings), repr(vars(settings)), settings.model_dump_json()):
        assert CANARY not in text


@pytest.mark.parametrize("key", [f"{CANARY}\nX-Evil: 1", f"{CANARY}é"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str):
    with pytest.raises(ValidationError, match="no HTTP header can carry") as caught:
        llm_settings(api_key=key)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x/v1", "http://", "http://x:99999", "/v1", "http://[::1"]
)
def test_a_url_that_is_none_is_refused(url: str):
    with pytest.raises(ValidationError, match=r"https://api\.example\.com/v1"):
        llm_settings(base_url=url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": -1},
        {"idle_timeout": 0},
        {"total_timeout": float("inf")},
        {"connect_timeout": 1e9},
        {"max_connections": 0},
        {"max_connections": 10**9},
        {"max_retries": 10**9},
        {"temperatur": 1},
    ],
    ids=str,
)
def test_a_wrong_value_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        llm_settings(**wrong)


@pytest.mark.parametrize("settings", [LLMSettings, EmbeddingSettings])
def test_what_is_about_the_connection_is_refused_among_the_fields_of_a_request(settings: Any):
    for params in ({"max_retries": 3}, {"temperature": 1, "api_key": CANARY}, {"base_url": "x"}):
        *_, name = params
        with pytest.raises(ValidationError, match=f"'{name}' is no field .* beside 'params'") as e:
            settings.model_validate({"model_name": "m", "params": params})
        assert CANARY not in str(e.value)
    with pytest.raises(ValidationError, match="delete 'raise_exception'; a model that fails"):
        settings.model_validate({"model_name": "m", "params": {"raise_exception": False}})
    settings.model_validate({"model_name": "m", "params": {"extra_body": {"api_key": "x"}}})


def test_the_entry_point_names_the_plugin():
    (entry,) = [e for e in entry_points(group="flowcore") if e.name == "openai"]
    assert entry.value == "flowcore_openai"


def test_registration_does_not_import_the_sdk():
    code = (
        "import sys, flowcore_openai, flowcore_openai.llm, flowcore_openai.embedding\n"
        "print([m for m in ('openai', 'httpx2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_both_backends_are_registered_under_one_name():
    import flowcore_openai

    names: list[tuple[str, str]] = []

    class Recorder:
        def add(self, cls: type, name: str = "") -> None:
            names.append((cls.__name__, name))

    flowcore_openai.flowcore_register_llms(Recorder())  # pyright: ignore[reportArgumentType]
    flowcore_openai.flowcore_register_embedding_models(Recorder())  # pyright: ignore[reportArgumentType]
    assert names == [
        ("OpenAICompatibleLLM", "openai_compatible"),
        ("OpenAICompatibleEmbeddingModel", "openai_compatible"),
    ]
