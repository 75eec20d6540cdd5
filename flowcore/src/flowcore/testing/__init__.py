"""The test kit for authors of ops and plugins: models without a model, and flows without a server.

The package is a plugin: ``FlowApp(config, plugins=[flowcore.testing])``, or ``imports:
[flowcore.testing]`` in YAML, makes the backends ``scripted`` and ``cassette`` available. It is a
plugin of pytest too, whose fixtures are there wherever flowcore is installed.

Example::

    async def test_the_op_passes_the_answer_on():
        llm = scripted_llm(["Hello", " Bob"])

        result = await run_op(StreamChatOp(llm=llm), query="Hi")

        assert result.text == "Hello Bob"
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from flowcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from flowcore.catalog import Registrar
    from flowcore.embedding import BaseEmbeddingModel
    from flowcore.llm import BaseLLM
    from flowcore.testing.cassette import Cassette, Recording
    from flowcore.testing.cassette_backends import (
        CassetteEmbeddingModel,
        CassetteLLM,
        CassetteSettings,
        cassette_llm,
    )
    from flowcore.testing.faults import Cut, Fail, Fault, Slow, Stall, faulty
    from flowcore.testing.fixtures import (
        CassetteFixture,
        FlowAppFixture,
        RunOpFixture,
        ScriptedLLMFixture,
    )
    from flowcore.testing.running import AppUnderTest, RunResult, collect, run_op
    from flowcore.testing.scripted import (
        LLMCall,
        Pause,
        Piece,
        ScriptedError,
        ScriptedLLM,
        ScriptedSettings,
        scripted_llm,
    )

# Where the public names live. Modules load on first use: every run of pytest imports this one.
_HOMES = {
    "cassette": "Cassette Recording",
    "cassette_backends": "CassetteEmbeddingModel CassetteLLM CassetteSettings cassette_llm",
    "faults": "Cut Fail Fault Slow Stall faulty",
    "fixtures": "CassetteFixture FlowAppFixture RunOpFixture ScriptedLLMFixture",
    "running": "AppUnderTest RunResult collect run_op",
    "scripted": "LLMCall Pause Piece ScriptedError ScriptedLLM ScriptedSettings scripted_llm",
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AppUnderTest",
    "Cassette",
    "CassetteEmbeddingModel",
    "CassetteFixture",
    "CassetteLLM",
    "CassetteSettings",
    "Cut",
    "Fail",
    "Fault",
    "FlowAppFixture",
    "LLMCall",
    "Pause",
    "Piece",
    "Recording",
    "RunOpFixture",
    "RunResult",
    "ScriptedError",
    "ScriptedLLM",
    "ScriptedLLMFixture",
    "ScriptedSettings",
    "Slow",
    "Stall",
    "cassette_llm",
    "collect",
    "faulty",
    "run_op",
    "scripted_llm",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'flowcore.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"flowcore.testing.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


@hookimpl
def flowcore_register_llms(llms: Registrar[BaseLLM]) -> None:
    """Register the backends ``scripted`` and ``cassette``."""
    from flowcore.testing.cassette_backends import CassetteLLM  # noqa: PLC0415
    from flowcore.testing.scripted import ScriptedLLM  # noqa: PLC0415

    llms.add(ScriptedLLM, "scripted")
    llms.add(CassetteLLM, "cassette")


@hookimpl
def flowcore_register_embedding_models(embedding_models: Registrar[BaseEmbeddingModel]) -> None:
    """Register the backend ``cassette``."""
    from flowcore.testing.cassette_backends import CassetteEmbeddingModel  # noqa: PLC0415

    embedding_models.add(CassetteEmbeddingModel, "cassette")
