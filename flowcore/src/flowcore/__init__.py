"""flowcore: write an op, compose ops in YAML, serve the flow as a stream of typed chunks.

PYTEST_DONT_REWRITE: pytest would warn where a program imports flowcore before it runs pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowcore.app import FlowApp
    from flowcore.backend import Backend, BackendSettings, Env, ModelSettings
    from flowcore.base_op import BaseAsyncOp, BaseOp
    from flowcore.batch import BatchReport, run_batch
    from flowcore.catalog import C, Catalog, Registrar
    from flowcore.config import FlowConfig, load_config
    from flowcore.context import FlowContext
    from flowcore.embedding import BaseEmbeddingModel
    from flowcore.ending import RunState
    from flowcore.errors import (
        AppBusyError,
        AppClosedError,
        BackendError,
        BatchError,
        ChunkError,
        ConfigError,
        DuplicateNameError,
        ExpressionError,
        FlowcoreError,
        InputError,
        OpDefinitionError,
        OpError,
        PluginError,
        PromptError,
        RegistryError,
        RunCancelledError,
        RunFailedError,
        RunTimeoutError,
        UnknownNameError,
    )
    from flowcore.finding import Finding
    from flowcore.flow import Flow, Grace
    from flowcore.hookspecs import hookimpl
    from flowcore.limits import Deadlines, FlowDeadlines, RunLimits
    from flowcore.llm import BaseLLM
    from flowcore.mermaid import to_mermaid
    from flowcore.op import Op, ParallelOp, SequentialOp
    from flowcore.reload.handover import Handover, HandoverRequest
    from flowcore.run import Run
    from flowcore.schema import (
        ChunkEnum,
        FlowResponse,
        FlowStreamChunk,
        Message,
        Role,
        Tool,
        ToolCall,
        VectorNode,
    )
    from flowcore.service import BaseService, FlowClient, ServiceSettings, TracingClient
    from flowcore.stream import ChunkStream, TraceStream, read_response
    from flowcore.svg import to_svg
    from flowcore.sync_app import SyncFlowApp
    from flowcore.trace import OpEvent, Trace
    from flowcore.user_op import UserOp
    from flowcore.vector_store import BaseVectorStore, VectorStoreSettings

__version__ = "0.1.0"

# Where the public names live. Modules load on first use, so that `import flowcore` is instant.
_HOMES = {
    "app": "FlowApp",
    "backend": "Backend BackendSettings Env ModelSettings",
    "base_op": "BaseAsyncOp BaseOp",
    "batch": "BatchReport run_batch",
    "catalog": "C Catalog Registrar",
    "config": "FlowConfig load_config",
    "context": "FlowContext",
    "limits": "Deadlines FlowDeadlines RunLimits",
    "embedding": "BaseEmbeddingModel",
    "ending": "RunState",
    "errors": (
        "AppBusyError AppClosedError BackendError BatchError ChunkError ConfigError "
        "DuplicateNameError ExpressionError FlowcoreError InputError OpDefinitionError OpError "
        "PluginError PromptError RegistryError RunCancelledError RunFailedError RunTimeoutError "
        "UnknownNameError"
    ),
    "finding": "Finding",
    "flow": "Flow Grace",
    "hookspecs": "hookimpl",
    "llm": "BaseLLM",
    "mermaid": "to_mermaid",
    "op": "Op ParallelOp SequentialOp",
    "reload.handover": "Handover HandoverRequest",
    "run": "Run",
    "schema": "ChunkEnum FlowResponse FlowStreamChunk Message Role Tool ToolCall VectorNode",
    "service": "BaseService FlowClient ServiceSettings TracingClient",
    "stream": "ChunkStream TraceStream read_response",
    "svg": "to_svg",
    "sync_app": "SyncFlowApp",
    "trace": "OpEvent Trace",
    "user_op": "UserOp",
    "vector_store": "BaseVectorStore VectorStoreSettings",
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AppBusyError",
    "AppClosedError",
    "Backend",
    "BackendError",
    "BackendSettings",
    "BaseAsyncOp",
    "BaseEmbeddingModel",
    "BaseLLM",
    "BaseOp",
    "BaseService",
    "BaseVectorStore",
    "BatchError",
    "BatchReport",
    "C",
    "Catalog",
    "ChunkEnum",
    "ChunkError",
    "ChunkStream",
    "ConfigError",
    "Deadlines",
    "DuplicateNameError",
    "Env",
    "ExpressionError",
    "Finding",
    "Flow",
    "FlowApp",
    "FlowClient",
    "FlowConfig",
    "FlowContext",
    "FlowDeadlines",
    "FlowResponse",
    "FlowStreamChunk",
    "FlowcoreError",
    "Grace",
    "Handover",
    "HandoverRequest",
    "InputError",
    "Message",
    "ModelSettings",
    "Op",
    "OpDefinitionError",
    "OpError",
    "OpEvent",
    "ParallelOp",
    "PluginError",
    "PromptError",
    "Registrar",
    "RegistryError",
    "Role",
    "Run",
    "RunCancelledError",
    "RunFailedError",
    "RunLimits",
    "RunState",
    "RunTimeoutError",
    "SequentialOp",
    "ServiceSettings",
    "SyncFlowApp",
    "Tool",
    "ToolCall",
    "Trace",
    "TraceStream",
    "TracingClient",
    "UnknownNameError",
    "UserOp",
    "VectorNode",
    "VectorStoreSettings",
    "__version__",
    "hookimpl",
    "load_config",
    "read_response",
    "run_batch",
    "to_mermaid",
    "to_svg",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'flowcore' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"flowcore.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
