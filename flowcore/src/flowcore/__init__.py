"""flowcore: write an op, compose ops in YAML, serve the flow as a stream of typed chunks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowcore.app import FlowApp, SyncFlowApp
    from flowcore.backend import Backend, BackendSettings, Env, ModelSettings
    from flowcore.base_op import BaseAsyncOp, BaseOp
    from flowcore.catalog import C, Catalog, Registrar
    from flowcore.config import FlowConfig, load_config
    from flowcore.context import FlowContext
    from flowcore.embedding import BaseEmbeddingModel
    from flowcore.errors import (
        AppClosedError,
        BackendError,
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
        UnknownNameError,
    )
    from flowcore.flow import Flow
    from flowcore.hookspecs import hookimpl
    from flowcore.llm import BaseLLM
    from flowcore.op import Op, ParallelOp, SequentialOp
    from flowcore.run import Run, RunState
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
    from flowcore.service import BaseService, ServiceSettings
    from flowcore.vector_store import BaseVectorStore, VectorStoreSettings

__version__ = "0.1.0"

# Where each public name lives. Modules load on first use, so that `import flowcore` is instant.
_HOMES = {
    "AppClosedError": "errors",
    "Backend": "backend",
    "BackendError": "errors",
    "BackendSettings": "backend",
    "BaseAsyncOp": "base_op",
    "BaseEmbeddingModel": "embedding",
    "BaseLLM": "llm",
    "BaseOp": "base_op",
    "BaseService": "service",
    "BaseVectorStore": "vector_store",
    "C": "catalog",
    "Catalog": "catalog",
    "ChunkEnum": "schema",
    "ChunkError": "errors",
    "ConfigError": "errors",
    "DuplicateNameError": "errors",
    "Env": "backend",
    "ExpressionError": "errors",
    "Flow": "flow",
    "FlowApp": "app",
    "FlowConfig": "config",
    "FlowContext": "context",
    "FlowResponse": "schema",
    "FlowStreamChunk": "schema",
    "FlowcoreError": "errors",
    "InputError": "errors",
    "Message": "schema",
    "ModelSettings": "backend",
    "Op": "op",
    "OpDefinitionError": "errors",
    "OpError": "errors",
    "ParallelOp": "op",
    "PluginError": "errors",
    "PromptError": "errors",
    "Registrar": "catalog",
    "RegistryError": "errors",
    "Role": "schema",
    "Run": "run",
    "RunCancelledError": "errors",
    "RunFailedError": "errors",
    "RunState": "run",
    "SequentialOp": "op",
    "ServiceSettings": "service",
    "SyncFlowApp": "app",
    "Tool": "schema",
    "ToolCall": "schema",
    "UnknownNameError": "errors",
    "VectorNode": "schema",
    "VectorStoreSettings": "vector_store",
    "hookimpl": "hookspecs",
    "load_config": "config",
}

__all__ = [*_HOMES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flowcore' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"flowcore.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
