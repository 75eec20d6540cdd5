"""The nodes of one workspace, with their vectors in one matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Self

import numpy as np

from flowcore import BackendError, VectorNode
from flowcore_memory.filters import Predicate
from flowcore_memory.settings import Metric
from flowcore_memory.similarity import Matrix, Reals, nearest, to_matrix


@dataclass(frozen=True, slots=True)
class Batch:
    """Nodes on their way into a workspace, which takes them over.

    Attributes:
        nodes: At least one node, without vectors.
        matrix: Their vectors, one a row.
        norms: The Euclidean norms of the vectors.
    """

    nodes: Sequence[VectorNode]
    matrix: Matrix
    norms: Reals

    @classmethod
    def of(cls, nodes: Sequence[VectorNode]) -> Self:
        """Take over nodes with vectors.

        Raises:
            BackendError: If the vectors differ in length or are not made of finite numbers.
        """
        vectors = [node.vector or () for node in nodes]
        matrix, norms = to_matrix(vectors, [f"node {node.unique_id!r}" for node in nodes])
        for node in nodes:
            node.vector = None
        return cls(nodes, matrix, norms)

    def workspace(self) -> Workspace:
        """Return a new workspace that holds these nodes."""
        workspace = Workspace(self.matrix.shape[1])
        workspace.put(self)
        return workspace


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A workspace as it is at one moment, which a worker thread may read.

    Attributes:
        nodes: The nodes in order of insertion, without vectors.
        matrix: Their vectors, one a row.
        norms: The Euclidean norms of the vectors.
    """

    nodes: Sequence[VectorNode]
    matrix: Matrix
    norms: Reals

    def copies(self, rows: Iterable[int] | None = None) -> Iterator[VectorNode]:
        """Copy the nodes of these rows, by default all, with their vectors."""
        return map(self._copy, range(len(self.nodes)) if rows is None else rows)

    def search(
        self, query: Matrix, metric: Metric, top_k: int, matches: Predicate | None
    ) -> list[VectorNode]:
        """Return copies of the nearest of the nodes that match, nearest first, with scores."""
        chosen = None
        if matches:
            chosen = np.array(
                [row for row, node in enumerate(self.nodes) if matches(node.metadata)],
                dtype=np.intp,
            )
        rows, scores = nearest(
            self.matrix, self.norms, query, metric=metric, top_k=top_k, rows=chosen
        )
        return [
            self._copy(row, score)
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
        ]

    def _copy(self, row: int, score: float | None = None) -> VectorNode:
        node = self.nodes[row]
        return node.model_copy(
            update={
                "vector": self.matrix[row].tolist(),
                "metadata": deepcopy(node.metadata),
                "score": score,
            }
        )


class Workspace:
    """Nodes by id and by row.

    The stored nodes are never changed, only replaced; their vectors live in a matrix of single
    precision that grows geometrically.

    Args:
        dimensions: The length of every vector.
    """

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._rows: dict[str, int] = {}
        self._nodes: list[VectorNode] = []
        self._matrix: Matrix = np.empty((0, dimensions), np.float32)
        self._norms: Reals = np.empty(0, np.float64)
        self._shared = False

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._rows

    def rows(self, node_ids: Iterable[str]) -> list[int]:
        """Return the rows of the nodes with these ids, in this order; unknown ids are left out."""
        return [self._rows[node_id] for node_id in node_ids if node_id in self._rows]

    def query(self, vector: Sequence[float]) -> Matrix:
        """Return a query vector as an array.

        Raises:
            BackendError: If it has the wrong length or is not made of finite numbers.
        """
        self._check_length(len(vector), "the query")
        return to_matrix([vector], ["the query"])[0][0]

    def snapshot(self, *, shared: bool = False) -> Snapshot:
        """Return the present state.

        Args:
            shared: Keep it intact while the workspace changes; otherwise it is good until the
                next change.
        """
        self._shared = self._shared or shared
        size = len(self)
        nodes = self._nodes.copy() if shared else self._nodes
        return Snapshot(nodes, self._matrix[:size], self._norms[:size])

    def put(self, batch: Batch) -> None:
        """Take over nodes with distinct ids, replacing those of the same ids; all or none.

        Raises:
            BackendError: If the vectors have another length than those here.
        """
        nodes = batch.nodes
        self._check_length(batch.matrix.shape[1], f"node {nodes[0].unique_id!r}")
        added = sum(node.unique_id not in self._rows for node in nodes)
        self._reserve(len(self) + added, overwrite=added < len(nodes))
        rows: list[int] = []
        for node in nodes:
            row = self._rows.setdefault(node.unique_id, len(self._nodes))
            if row == len(self._nodes):
                self._nodes.append(node)
            else:
                self._nodes[row] = node
            rows.append(row)
        self._matrix[rows] = batch.matrix
        self._norms[rows] = batch.norms

    def remove(self, rows: Iterable[int]) -> None:
        """Delete rows and close the gaps."""
        keep = np.ones(len(self), dtype=np.bool_)
        keep[list(rows)] = False
        self._matrix = self._matrix[: len(self)][keep]
        self._norms = self._norms[: len(self)][keep]
        self._shared = False
        self._nodes = [node for node, kept in zip(self._nodes, keep, strict=True) if kept]
        self._rows = {node.unique_id: row for row, node in enumerate(self._nodes)}

    def _check_length(self, length: int, owner: str) -> None:
        if length != self._dimensions:
            raise BackendError(
                f"{owner} has a vector of {length} numbers, but the vectors of this workspace have "
                f"{self._dimensions}; a workspace takes the vectors of one embedding model only"
            )

    def _reserve(self, size: int, *, overwrite: bool) -> None:
        # Rows are appended in place, where no snapshot looks; those that a shared snapshot sees
        # are overwritten in a new array only.
        capacity = len(self._matrix)
        if size > capacity:
            capacity = max(size, 2 * capacity)
        elif not (overwrite and self._shared):
            return
        matrix = np.empty((capacity, self._dimensions), np.float32)
        norms = np.empty(capacity, np.float64)
        matrix[: len(self)] = self._matrix[: len(self)]
        norms[: len(self)] = self._norms[: len(self)]
        self._matrix, self._norms, self._shared = matrix, norms, False
