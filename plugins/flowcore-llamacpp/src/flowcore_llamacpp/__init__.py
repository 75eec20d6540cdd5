"""flowcore backend ``llamacpp``: any GGUF model in process, through llama.cpp."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from flowcore import hookimpl

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from contextlib import AbstractAsyncContextManager

    from flowcore import BaseLLM, Finding, FlowApp, FlowConfig, Registrar


@hookimpl
def flowcore_register_llms(llms: Registrar[BaseLLM]) -> None:
    """Register the LLM backend ``llamacpp``."""
    from flowcore_llamacpp.llm import LlamaCppLLM  # noqa: PLC0415  loads only where it is used

    llms.add(LlamaCppLLM, "llamacpp")


@hookimpl
def flowcore_lifespan(app: FlowApp) -> AbstractAsyncContextManager[object]:
    """Load the models that ask for it, before the first run."""
    return _preloaded(app)


@hookimpl
def flowcore_diagnose(config: FlowConfig) -> Iterable[Finding]:
    """Tell of the model files."""
    from flowcore_llamacpp.diagnosis import diagnose  # noqa: PLC0415

    return diagnose(config)


@asynccontextmanager
async def _preloaded(app: FlowApp) -> AsyncGenerator[None]:
    for name, entry in app.config.llm.items():
        if entry.get("backend") == "llamacpp" and entry.get("preload", True):
            llm: Any = app.backends.llm(name)
            await llm.load()
    yield
