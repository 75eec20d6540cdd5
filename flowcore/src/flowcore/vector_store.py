"""The interface of a vector store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from pydantic import Field

from flowcore.backend import Backend, BackendSettings
from flowcore.embedding import BaseEmbeddingModel
from flowcore.schema import VectorNode
from flowcore.worker import from_worker


class VectorStoreSettings(BackendSettings):
    """Settings of a vector store.

    Attributes:
        embedding_model: Name of the ``embedding_model`` entry that embeds contents and queries.
        params: Whatever else the backend understands.
    """

    embedding_model: str = "default"
    params: dict[str, Any] = Field(default_factory=dict)


class BaseVectorStore(Backend, ABC):
    """Nodes with vectors, kept in workspaces and searched by similarity.

    A workspace comes into being with its first node. Nodes without a vector are embedded by the
    store's embedding model.

    Args:
        settings: The validated config entry.
        embedding_model: The shared embedding model that the entry names.
    """

    Settings = VectorStoreSettings

    def __init__(self, settings: VectorStoreSettings, embedding_model: BaseEmbeddingModel) -> None:
        self.settings = settings
        self.embedding_model = embedding_model

    @abstractmethod
    async def async_insert(
        self, nodes: Sequence[VectorNode], workspace_id: str = "default"
    ) -> None:
        """Add new nodes; all or none.

        Raises:
            BackendError: If a node's id exists already in the workspace or stands twice in
                ``nodes``, or a vector has the wrong length.
        """

    @abstractmethod
    async def async_upsert(
        self, nodes: Sequence[VectorNode], workspace_id: str = "default"
    ) -> None:
        """Add nodes, replacing those whose ids exist; all or none.

        Raises:
            BackendError: If a vector has the wrong length.
        """

    @abstractmethod
    async def async_delete(self, node_ids: Sequence[str], workspace_id: str = "default") -> int:
        """Delete nodes by id and return how many there were; unknown ids are ignored."""

    @abstractmethod
    async def async_search(
        self,
        query: str | Sequence[float],
        workspace_id: str = "default",
        top_k: int = 5,
        filter_dict: Mapping[str, Any] | None = None,
    ) -> list[VectorNode]:
        """Return the nodes nearest to ``query``, nearest first, each with its ``score``.

        Args:
            query: Text to embed, or a vector.
            workspace_id: Workspace to search; an unknown one has no nodes.
            top_k: How many nodes at most; at least 1.
            filter_dict: Metadata that a node must have: a dotted key, and a value to equal, a
                list of which one must equal, or a range such as ``{"gte": 1, "lt": 5}``.

        Raises:
            BackendError: If the query vector has the wrong length or a filter is malformed.
        """

    @abstractmethod
    async def async_get(
        self, node_ids: Sequence[str], workspace_id: str = "default"
    ) -> list[VectorNode]:
        """Return the nodes with these ids, in this order; unknown ids are left out."""

    @abstractmethod
    async def async_list_workspace(self) -> list[str]:
        """Return the names of the workspaces, sorted."""

    @abstractmethod
    async def async_list_workspace_nodes(self, workspace_id: str = "default") -> list[VectorNode]:
        """Return all nodes of a workspace, in order of insertion."""

    @abstractmethod
    async def async_delete_workspace(self, workspace_id: str = "default") -> None:
        """Delete a workspace with all its nodes; an unknown one is ignored."""

    @abstractmethod
    async def async_dump_workspace(self, workspace_id: str, path: str | PathLike[str]) -> int:
        """Write a workspace to a JSON Lines file, replacing it, and return the number of nodes."""

    @abstractmethod
    async def async_load_workspace(self, workspace_id: str, path: str | PathLike[str]) -> int:
        """Replace a workspace by the nodes of a dumped file; return their number.

        Raises:
            BackendError: If the file is missing or malformed; the workspace is then unchanged.
        """

    def insert(self, nodes: Sequence[VectorNode], workspace_id: str = "default") -> None:
        """Blocking twin of :meth:`async_insert`, for the ``execute`` of a sync op."""
        from_worker(self.async_insert, nodes, workspace_id)

    def upsert(self, nodes: Sequence[VectorNode], workspace_id: str = "default") -> None:
        """Blocking twin of :meth:`async_upsert`, for the ``execute`` of a sync op."""
        from_worker(self.async_upsert, nodes, workspace_id)

    def delete(self, node_ids: Sequence[str], workspace_id: str = "default") -> int:
        """Blocking twin of :meth:`async_delete`, for the ``execute`` of a sync op."""
        return from_worker(self.async_delete, node_ids, workspace_id)

    def search(
        self,
        query: str | Sequence[float],
        workspace_id: str = "default",
        top_k: int = 5,
        filter_dict: Mapping[str, Any] | None = None,
    ) -> list[VectorNode]:
        """Blocking twin of :meth:`async_search`, for the ``execute`` of a sync op."""
        return from_worker(self.async_search, query, workspace_id, top_k, filter_dict)
