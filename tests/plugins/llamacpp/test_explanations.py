"""The pages that explain errors show what the errors really say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flowcore import BackendError
from flowcore_llamacpp.llm import LlamaCppLLM
from flowcore_llamacpp.model_file import find_model
from flowcore_llamacpp.reply import Reply
from flowcore_llamacpp.request import encode_request
from flowcore_llamacpp.settings import LlamaCppSettings
from tests.explained import assert_explained

TOO_LONG = {"type": "exceed_context_size_error", "n_prompt_tokens": 5000, "n_ctx": 4096}


@pytest.mark.parametrize(
    ("code", "fail"),
    [
        ("context_exceeded", lambda: [*Reply().feed(json.dumps({"error": TOO_LONG}).encode())]),
        ("request_rejected", lambda: encode_request([], None, {}, {"n_ctx": 8192})),
        ("generation_failed", lambda: [*Reply().finish()]),
    ],
)
def test_the_page_shows_what_is_said_of_a_reply_that_fails(code: str, fail: Callable[[], object]):
    with pytest.raises(BackendError) as caught:
        fail()
    assert caught.value.code == code
    assert_explained(code, str(caught.value))


@pytest.mark.parametrize("code", ["model_not_found", "model_load_failed"])
def test_the_page_shows_what_is_said_of_a_file_that_is_no_model(code: str, tmp_path: Path):
    file = tmp_path / "tea.gguf"
    if code == "model_load_failed":
        file.write_text("<html>Not found</html>")
    with pytest.raises(BackendError) as caught:
        find_model("tea", file)
    assert caught.value.code == code
    assert_explained(code, str(caught.value).replace(repr(str(file)), "'/models/tea.gguf'"))


async def test_the_page_shows_what_is_said_of_a_model_that_was_closed():
    llm = LlamaCppLLM(LlamaCppSettings(model_name="smollm2"))
    await llm.aclose()
    with pytest.raises(BackendError) as caught:
        async for _ in llm.astream_chat([]):
            pass
    assert caught.value.code == "closed"
    assert_explained("closed", str(caught.value))
