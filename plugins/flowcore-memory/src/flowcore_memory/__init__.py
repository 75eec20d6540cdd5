"""The vector store ``memory``: nodes in this process, searched exactly with NumPy."""

from __future__ import annotations

from flowcore import BaseVectorStore, Registrar, hookimpl
from flowcore_memory.store import MemoryVectorStore


@hookimpl
def flowcore_register_vector_stores(vector_stores: Registrar[BaseVectorStore]) -> None:
    """Register the backend ``memory``."""
    vector_stores.add(MemoryVectorStore, "memory")
