"""What a run finds around it: what it shares with other runs, and who watches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio

from flowcore.embedding import BaseEmbeddingModel
from flowcore.llm import BaseLLM
from flowcore.schema import FlowStreamChunk
from flowcore.vector_store import BaseVectorStore

if TYPE_CHECKING:
    from flowcore.op import Op
    from flowcore.run import Run


class Resources(Protocol):
    """What a run's ops share with all other runs of the app."""

    language: str
    threads: anyio.CapacityLimiter

    def llm(self, name: str) -> BaseLLM:
        """Return the LLM of this name."""
        ...

    def embedding_model(self, name: str) -> BaseEmbeddingModel:
        """Return the embedding model of this name."""
        ...

    def vector_store(self, name: str) -> BaseVectorStore:
        """Return the vector store of this name."""
        ...


class Observer(Protocol):
    """Who is told of a run's life: the plugins, through the hooks of the same names.

    Attributes:
        sees_chunks: Whether anybody wants to be told of chunks.
    """

    sees_chunks: bool

    def run_started(self, run: Run) -> None:
        """See ``flowcore_run_started``."""
        ...

    def run_finished(self, run: Run, error: BaseException | None) -> None:
        """See ``flowcore_run_finished``."""
        ...

    def op_started(self, run: Run, op: Op) -> None:
        """See ``flowcore_op_started``."""
        ...

    def op_finished(self, run: Run, op: Op, error: BaseException | None) -> None:
        """See ``flowcore_op_finished``."""
        ...

    def chunk(self, run: Run, chunk: FlowStreamChunk) -> None:
        """See ``flowcore_chunk``."""
        ...
