"""The hooks that a plugin may implement.

A plugin is a module that an entry point of the group ``flowcore`` names. It implements any of the
hooks below with the marker :data:`hookimpl`, and may leave out arguments that it does not need.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from flowcore.app import FlowApp
    from flowcore.catalog import Registrar
    from flowcore.config import FlowConfig
    from flowcore.embedding import BaseEmbeddingModel
    from flowcore.finding import Finding
    from flowcore.llm import BaseLLM
    from flowcore.op import Op
    from flowcore.run import Run
    from flowcore.schema import FlowStreamChunk
    from flowcore.service import BaseService
    from flowcore.vector_store import BaseVectorStore

hookspec = pluggy.HookspecMarker("flowcore")
hookimpl = pluggy.HookimplMarker("flowcore")
"""Marks a function of a plugin as the implementation of a hook."""


# --- Registration: once for each app, before the configuration is checked. An exception excludes
# --- the plugin, with all that it registered, and is shown by `flowcore plugins`.


@hookspec
def flowcore_register_ops(ops: Registrar[Op]) -> None:
    """Register op classes with ``ops.add(MyOp)``; flows use them as ``MyOp()``."""


@hookspec
def flowcore_register_llms(llms: Registrar[BaseLLM]) -> None:
    """Register LLM backends with ``llms.add(MyLLM, "my_backend")``.

    They are what ``backend`` names in an entry of ``llm``.
    """


@hookspec
def flowcore_register_embedding_models(embedding_models: Registrar[BaseEmbeddingModel]) -> None:
    """Register embedding backends with ``embedding_models.add(MyEmbedding, "my_backend")``.

    They are what ``backend`` names in an entry of ``embedding_model``.
    """


@hookspec
def flowcore_register_vector_stores(vector_stores: Registrar[BaseVectorStore]) -> None:
    """Register vector stores with ``vector_stores.add(MyStore, "my_backend")``.

    They are what ``backend`` names in an entry of ``vector_store``.
    """


@hookspec
def flowcore_register_services(services: Registrar[BaseService]) -> None:
    """Register services with ``services.add(MyService, "my_service")``.

    They are what ``backend`` names at the top level of a configuration; the section of the same
    name holds their settings.
    """


# --- For `flowcore doctor`: an exception is shown as a finding.


@hookspec
def flowcore_diagnose(config: FlowConfig, online: bool) -> Iterable[Finding]:  # pyright: ignore[reportReturnType]
    """Return what is to be told of the plugin's part of a configuration.

    It may be a generator. The configuration was read, but what it says need not be right. Other
    machines may be asked only if ``online`` is true, and for a few seconds at most. Nothing is
    started, and no key is told.
    """


# --- Life of an app.


@hookspec
def flowcore_lifespan(app: FlowApp) -> AbstractAsyncContextManager[object]:  # pyright: ignore[reportReturnType]
    """Return an async context manager that is entered when the app opens, before its first run.

    It is left when the app closes, after the last run has ended and before the backends close.
    An exception on entering stops the start of the app.
    """


# --- Observation: called in the event loop, at once, so be quick. An exception is logged once for
# --- each plugin and hook, and does not reach the run.


@hookspec
def flowcore_run_started(run: Run) -> None:
    """Called when a run begins, before its first op."""


@hookspec
def flowcore_run_finished(run: Run, error: BaseException | None) -> None:
    """Called once when a run has ended.

    ``run.state`` is final; ``error`` is why the run failed, or None.
    """


@hookspec
def flowcore_op_started(run: Run, op: Op) -> None:
    """Called when an op of a run begins; retries of the op are not told apart."""


@hookspec
def flowcore_op_finished(run: Run, op: Op, error: BaseException | None) -> None:
    """Called when an op of a run has ended; ``error`` is what it raised, also a cancellation.

    It is None where the op has come to its end.
    """


@hookspec
def flowcore_chunk(run: Run, chunk: FlowStreamChunk) -> None:
    """Called for each chunk that an op emits, before it is queued; do not change it."""
