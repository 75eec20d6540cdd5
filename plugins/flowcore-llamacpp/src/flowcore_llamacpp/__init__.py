"""flowcore backend ``llamacpp``: any GGUF model in process, through llama.cpp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowcore import hookimpl

if TYPE_CHECKING:
    from flowcore import BaseLLM, Registrar


@hookimpl
def flowcore_register_llms(llms: Registrar[BaseLLM]) -> None:
    """Register the LLM backend ``llamacpp``."""
    from flowcore_llamacpp.llm import LlamaCppLLM  # noqa: PLC0415  loads only where it is used

    llms.add(LlamaCppLLM, "llamacpp")
