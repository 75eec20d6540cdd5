from __future__ import annotations

from pathlib import Path

from flowcore import load_config
from flowcore_llamacpp.diagnosis import diagnose


def test_a_model_file_is_told_with_its_size(tmp_path: Path):
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF" + bytes(2_999_996))
    entry = {"backend": "llamacpp", "model_name": "m", "params": {"model_path": str(model)}}
    found = [*diagnose(load_config({"llm": {"default": entry}}))]

    assert [(f.name, f.text) for f in found] == [("llm.default.model_path", f"{model} (3 MB)")]


def test_a_model_that_is_missing_and_other_backends_are_left_to_others(tmp_path: Path):
    missing = {"backend": "llamacpp", "params": {"model_path": str(tmp_path / "m.gguf")}}
    other = {"backend": "openai_compatible", "model_name": "m"}

    assert [*diagnose(load_config({"llm": {"default": missing, "other": other}}))] == []
