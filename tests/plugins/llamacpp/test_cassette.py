from __future__ import annotations

from pathlib import Path

from flowcore import Message
from flowcore.testing import cassette_llm


async def test_the_model_in_the_process_is_recorded_and_replayed(tmp_path: Path):
    wraps = {
        "backend": "llamacpp",
        "model_name": "smollm2",
        "params": {"n_ctx": 256, "n_threads": 1, "max_tokens": 4, "temperature": 0},
    }
    question = [Message(content="Name a color.")]

    recorded = await cassette_llm(tmp_path / "c.yaml", wraps, mode="once").achat(question)
    replayed = await cassette_llm(tmp_path / "c.yaml", wraps, mode="none").achat(question)

    assert recorded.content
    assert replayed == recorded
    assert replayed.metadata["usage"]["completion_tokens"] == 4
