"""What `flowcore doctor` tells of the model files."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from flowcore import BackendError, Finding, FlowConfig
from flowcore_llamacpp.model_file import find_model
from flowcore_llamacpp.settings import LlamaCppSettings

_MEGABYTE = 1_000_000


def diagnose(config: FlowConfig) -> Iterator[Finding]:
    """Tell of all entries with ``backend: llamacpp``."""
    for name, entry in config.llm.items():
        if entry.get("backend") != "llamacpp":
            continue
        own = LlamaCppSettings.complete(entry, config.environment)
        try:
            settings = LlamaCppSettings.model_validate(own)
            path = find_model(settings.model_name, settings.engine.model_path)
        except (ValidationError, BackendError):
            continue  # flowcore tells that the model cannot be made, and why
        text = f"{path} ({path.stat().st_size / _MEGABYTE:,.0f} MB)"
        yield Finding("models", f"llm.{name}.model_path", text, "ok")
