from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from pydantic import ValidationError

from flowcore import BackendError, Message
from flowcore_llamacpp import model_file
from flowcore_llamacpp.llm import LlamaCppLLM
from flowcore_llamacpp.model_file import find_model


async def code_of(llm, messages, **params):
    with anyio.fail_after(30):
        with pytest.raises(BackendError) as error:
            await llm.achat(messages, **params)
    return error.value.code, str(error.value)


def test_an_unknown_model_name_is_refused_with_the_remedy(make_llm):
    with pytest.raises(
        BackendError, match=r"'smollm2', not 'qwen3'; .* params.model_path"
    ) as error:
        make_llm("qwen3")

    assert error.value.code == "model_not_found"


def test_a_missing_model_file_is_refused_at_once(make_llm, tmp_path):
    with pytest.raises(BackendError, match=r"no\.gguf.*params\.model_path") as error:
        make_llm("mine", model_path=str(tmp_path / "no.gguf"))

    assert error.value.code == "model_not_found"


def test_a_file_that_is_no_gguf_is_refused_at_once(make_llm, tmp_path):
    (tmp_path / "page.gguf").write_text("<html>not found</html>", encoding="utf-8")

    with pytest.raises(BackendError, match="not a GGUF file"):
        make_llm("mine", model_path=str(tmp_path / "page.gguf"))


def test_a_model_whose_package_is_missing_is_refused_with_the_pip_line(monkeypatch):
    monkeypatch.setitem(model_file.PACKAGED, "tiny", ("no_such_package", "pip install tiny"))

    with pytest.raises(BackendError, match="not installed; run: pip install tiny"):
        find_model("tiny", None)


def test_a_path_is_relative_to_the_working_directory_and_knows_home(tmp_path, monkeypatch):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    assert find_model("mine", Path("m.gguf")) == tmp_path / "m.gguf"
    assert find_model("mine", Path("~/m.gguf")) == tmp_path / "m.gguf"


async def test_a_damaged_gguf_fails_on_the_first_call(make_llm, tmp_path, colors):
    whole = find_model("smollm2", None)
    with whole.open("rb") as file:
        (tmp_path / "cut.gguf").write_bytes(file.read(1_000_000))
    llm = make_llm(model_path=str(tmp_path / "cut.gguf"))

    code, text = await code_of(llm, colors)

    assert code == "model_load_failed"
    assert "cut.gguf" in text


async def test_a_model_without_a_name_is_called_like_its_file(make_llm):
    llm = make_llm("", model_path=str(find_model("smollm2", None)))

    assert llm.model_name == "SmolLM2-135M-Instruct.Q4_1"


async def test_a_prompt_longer_than_the_context_is_refused(llm):
    code, text = await code_of(llm, [Message(content="word " * 6000)])

    assert code == "context_exceeded"
    assert "the context holds 4096" in text


async def test_a_parameter_of_the_wrong_type_is_refused(llm, colors):
    code, text = await code_of(llm, colors, temperature="hot")

    assert code == "request_rejected"
    assert "temperature" in text


async def test_content_that_the_model_cannot_take_is_refused(llm):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

    code, text = await code_of(llm, [Message(content=[picture])])

    assert code == "request_rejected"
    assert "image" in text


@pytest.mark.parametrize("params", [{"n_ctx": 8}, {"model_path": "x"}, {"stream": False}])
async def test_a_call_cannot_set_what_is_not_its_own(llm, colors, params):
    code, text = await code_of(llm, colors, **params)

    assert code == "request_rejected"
    assert next(iter(params)) in text


@pytest.mark.parametrize("value", [float("nan"), object(), b"x"])
async def test_a_parameter_without_a_json_form_is_refused(llm, colors, value):
    code, _ = await code_of(llm, colors, temperature=value)

    assert code == "request_rejected"


@pytest.mark.parametrize(
    "params", [{"n_ctx": "many"}, {"n_parallel": 0}, {"n_threads": -1}, {"messages": []}]
)
def test_wrong_engine_params_are_refused_by_the_settings(params):
    with pytest.raises(ValidationError, match=next(iter(params))):
        LlamaCppLLM.Settings.model_validate({"model_name": "smollm2", "params": params})
