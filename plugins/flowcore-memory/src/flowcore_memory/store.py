"""The vector store that lives in the memory of the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread
from anyio.lowlevel import checkpoint

from flowcore import BackendError, BaseEmbeddingModel, BaseVectorStore, VectorNode
from flowcore_memory.filters import compile_filter
from flowcore_memory.jsonl import read_nodes, write_nodes
from flowcore_memory.settings import MemoryVectorStoreSettings, Metric

if TYPE_CHECKING:
    from flowcore_memory.workspace import Batch, Snapshot, Workspace

T = TypeVar("T")

_INLINE_NODES = 2_000
"""Work on more nodes than this is done in a worker thread, so that the event loop goes on."""


class MemoryVectorStore(BaseVectorStore):
    """Keeps nodes in this process and searches all of them, exactly.

    Vectors are kept in single precision. Nodes are copied on their way in and out; leave those of
    a call alone until it returns. An operation changes the store at one moment, after its
    embedding call, so that other tasks see all of it or nothing. A workspace goes with its last
    node.

    Args:
        settings: The validated config entry.
        embedding_model: The shared embedding model that the entry names.
    """

    Settings = MemoryVectorStoreSettings

    def __init__(
        self, settings: MemoryVectorStoreSettings, embedding_model: BaseEmbeddingModel
    ) -> None:
        super().__init__(settings, embedding_model)
        self._metric: Metric = settings.metric
        self._workspaces: dict[str, Workspace] = {}
        # Of its own: a sync op that waits for a search may hold the last of the app's threads.
        self._threads = anyio.CapacityLimiter(4)

    async def aclose(self) -> None:
        """Forget all workspaces."""
        self._workspaces.clear()

    async def async_insert(
        self, nodes: Sequence[VectorNode], workspace_id: str = "default"
    ) -> None:
        """Add new nodes; all or none.

        Raises:
            BackendError: If a node's id exists already in the workspace or stands twice in
                ``nodes``, or a vector has the wrong length or is not made of finite numbers.
        """
        _refuse_one(nodes, VectorNode)
        self._refuse_duplicates(nodes, workspace_id)
        batch = await self._prepared(nodes, workspace_id)
        if batch:
            self._refuse_duplicates(batch.nodes, workspace_id)
            self._put(batch, workspace_id)

    async def async_upsert(
        self, nodes: Sequence[VectorNode], workspace_id: str = "default"
    ) -> None:
        """Add nodes, replacing those whose ids exist; all or none.

        A replaced node keeps its place in the order of insertion. Of several nodes with one id
        the last one counts.

        Raises:
            BackendError: If a vector has the wrong length or is not made of finite numbers.
        """
        _refuse_one(nodes, VectorNode)
        distinct = {node.unique_id: node for node in nodes}
        batch = await self._prepared(list(distinct.values()), workspace_id)
        if batch:
            self._put(batch, workspace_id)

    async def async_delete(self, node_ids: Sequence[str], workspace_id: str = "default") -> int:
        """Delete nodes by id and return how many there were; unknown ids are ignored."""
        _refuse_one(node_ids, str)
        await checkpoint()
        workspace = self._workspaces.get(workspace_id)
        rows = workspace.rows(dict.fromkeys(node_ids)) if workspace else []
        if workspace and rows:
            workspace.remove(rows)
            if not workspace:
                del self._workspaces[workspace_id]
        return len(rows)

    async def async_search(
        self,
        query: str | Sequence[float],
        workspace_id: str = "default",
        top_k: int = 5,
        filter_dict: Mapping[str, Any] | None = None,
    ) -> list[VectorNode]:
        """Return the nodes nearest to ``query``, nearest first, each with its ``score``.

        Nodes with equal scores come in order of insertion.

        Args:
            query: Text to embed, or a vector.
            workspace_id: Workspace to search; an unknown one has no nodes.
            top_k: How many nodes at most; at least 1.
            filter_dict: Metadata that a node must have: a dotted key, and a value to equal, a
                list of which one must equal, or a range such as ``{"gte": 1, "lt": 5}``.

        Raises:
            BackendError: If ``top_k`` is less than 1, the query vector has the wrong length or is
                not made of finite numbers, or a filter is malformed.
        """
        if top_k < 1:
            raise BackendError(f"top_k is {top_k}, but a search returns at least 1 node")
        matches = compile_filter(filter_dict)
        await checkpoint()
        if workspace_id not in self._workspaces:
            return []
        if isinstance(query, str):
            query = await self.embedding_model.async_get_embeddings(query)
        workspace = self._workspaces.get(workspace_id)
        if workspace is None:
            return []
        vector = workspace.query(query)
        metric = self._metric
        return await self._read(
            workspace, lambda snapshot: snapshot.search(vector, metric, top_k, matches)
        )

    async def async_get(
        self, node_ids: Sequence[str], workspace_id: str = "default"
    ) -> list[VectorNode]:
        """Return the nodes with these ids, in this order; unknown ids are left out."""
        _refuse_one(node_ids, str)
        await checkpoint()
        workspace = self._workspaces.get(workspace_id)
        return list(workspace.snapshot().copies(workspace.rows(node_ids))) if workspace else []

    async def async_list_workspace(self) -> list[str]:
        """Return the names of the workspaces, sorted."""
        await checkpoint()
        return sorted(self._workspaces)

    async def async_list_workspace_nodes(self, workspace_id: str = "default") -> list[VectorNode]:
        """Return all nodes of a workspace, in order of insertion."""
        await checkpoint()
        workspace = self._workspaces.get(workspace_id)
        return await self._read(workspace, _all_nodes) if workspace else []

    async def async_delete_workspace(self, workspace_id: str = "default") -> None:
        """Delete a workspace with all its nodes; an unknown one is ignored."""
        await checkpoint()
        self._workspaces.pop(workspace_id, None)

    async def async_dump_workspace(self, workspace_id: str, path: str | PathLike[str]) -> int:
        """Write a workspace to a JSON Lines file, replacing it whole; return the number of nodes.

        Raises:
            BackendError: If the file cannot be written, or a node has metadata with no JSON form;
                an earlier file is then unchanged.
        """
        workspace = self._workspaces.get(workspace_id)
        snapshot = workspace.snapshot(shared=True) if workspace else None

        def write() -> int:
            return write_nodes(Path(path), snapshot.copies() if snapshot else ())

        return await anyio.to_thread.run_sync(write, limiter=self._threads)

    async def async_load_workspace(self, workspace_id: str, path: str | PathLike[str]) -> int:
        """Replace a workspace by the nodes of a dumped file; return their number.

        Nodes without a vector are embedded.

        Raises:
            BackendError: If the file is missing or malformed; the workspace is then unchanged.
        """
        nodes = await anyio.to_thread.run_sync(read_nodes, Path(path), limiter=self._threads)
        batch = await self._prepared(nodes, workspace_id)
        if batch:
            self._workspaces[workspace_id] = batch.workspace()
        else:
            self._workspaces.pop(workspace_id, None)
        return len(nodes)

    def _refuse_duplicates(self, nodes: Sequence[VectorNode], workspace_id: str) -> None:
        taken = self._workspaces.get(workspace_id, ())
        seen: set[str] = set()
        for node in nodes:
            if node.unique_id in taken:
                raise BackendError(
                    f"node id {node.unique_id!r} exists already in workspace {workspace_id!r}; "
                    "upsert it to replace the node"
                )
            if node.unique_id in seen:
                raise BackendError(
                    f"node id {node.unique_id!r} stands twice in the nodes to insert"
                )
            seen.add(node.unique_id)

    async def _prepared(self, nodes: Sequence[VectorNode], workspace_id: str) -> Batch | None:
        # Imports NumPy, which an app that has this plugin but no such store need not load.
        from flowcore_memory.workspace import Batch  # noqa: PLC0415

        await checkpoint()
        if not nodes:
            return None
        own = await self._compute(len(nodes), lambda: [_own(node, workspace_id) for node in nodes])
        missing = [node for node in own if node.vector is None]
        if missing:
            texts = [node.content for node in missing]
            vectors = await self.embedding_model.async_get_embeddings(texts)
            if len(vectors) != len(missing):
                raise BackendError(
                    f"the embedding model returned {len(vectors)} vectors for {len(missing)} texts"
                )
            for node, vector in zip(missing, vectors, strict=True):
                node.vector = vector
        return await self._compute(len(own), lambda: Batch.of(own))

    def _put(self, batch: Batch, workspace_id: str) -> None:
        workspace = self._workspaces.get(workspace_id)
        if workspace is None:
            self._workspaces[workspace_id] = batch.workspace()
        else:
            workspace.put(batch)

    async def _read(self, workspace: Workspace, function: Callable[[Snapshot], T]) -> T:
        size = len(workspace)
        snapshot = workspace.snapshot(shared=size > _INLINE_NODES)
        return await self._compute(size, lambda: function(snapshot))

    async def _compute(self, size: int, function: Callable[[], T]) -> T:
        if size <= _INLINE_NODES:
            return function()
        return await anyio.to_thread.run_sync(function, limiter=self._threads)


def _refuse_one(given: object, kind: type) -> None:
    # A text is a sequence as well: of its letters, which are ids of nothing.
    if isinstance(given, kind):
        what = "ids, such as [node_id]" if kind is str else "nodes, such as [node]"
        raise TypeError(f"a vector store takes a list of {what}; a {kind.__name__} is none")


def _all_nodes(snapshot: Snapshot) -> list[VectorNode]:
    return list(snapshot.copies())


def _own(node: VectorNode, workspace_id: str) -> VectorNode:
    return node.model_copy(
        update={
            "workspace_id": workspace_id,
            "metadata": deepcopy(node.metadata),
            "score": None,
        }
    )
