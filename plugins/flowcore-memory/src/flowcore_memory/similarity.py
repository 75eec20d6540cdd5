"""Vectors as NumPy arrays, and the search for the nearest of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowcore import BackendError
from flowcore_memory.settings import Metric

Matrix = NDArray[np.float32]
Reals = NDArray[np.float64]
Rows = NDArray[np.intp]

_SINGLE = np.finfo(np.float32)


def to_matrix(vectors: Sequence[Sequence[float]], owners: Sequence[str]) -> tuple[Matrix, Reals]:
    """Return vectors as the rows of a matrix, and their Euclidean norms.

    Args:
        vectors: At least one vector.
        owners: What each vector belongs to, for messages.

    Raises:
        BackendError: If the vectors differ in length or are not made of finite numbers.
    """
    dimensions = len(vectors[0])
    matrix = np.empty((len(vectors), dimensions), np.float32)
    # Row by row, so that a worker thread lets others run in between. Numbers too large become
    # inf, and are reported below as what they are.
    with np.errstate(over="ignore", invalid="ignore"):
        for row, vector, owner in zip(matrix, vectors, owners, strict=True):
            if len(vector) != dimensions or dimensions == 0:
                raise BackendError(
                    f"{owner} has a vector of {len(vector)} numbers, but {owners[0]} one of "
                    f"{dimensions}; all must have the length that the embedding model gives"
                )
            try:
                row[:] = vector
            except (TypeError, ValueError) as error:
                raise BackendError(
                    f"{owner} has a vector of something else than numbers"
                ) from error
        norms = np.sqrt(np.square(matrix, dtype=np.float64).sum(axis=1))
        usable = np.isfinite(norms.astype(np.float32))
    if not usable.all():
        raise BackendError(
            f"{owners[int(np.argmin(usable))]} has a vector with NaN, an infinity "
            "or a number too large for single precision"
        )
    return matrix, norms


def nearest(
    matrix: Matrix,
    norms: Reals,
    query: Matrix,
    *,
    metric: Metric,
    top_k: int,
    rows: Rows | None = None,
) -> tuple[Rows, Reals]:
    """Return the nearest rows, nearest first, and their scores; ties in order of rows.

    One single-precision product estimates every score; the rows that its rounding error leaves
    in question are scored again in double precision. So the result is exact, and equal rows
    have equal scores wherever they stand.

    Args:
        matrix: The vectors, shape (n, d).
        norms: Their Euclidean norms, shape (n,).
        query: The vector to compare with, shape (d,).
        metric: What a score is.
        top_k: How many rows at most.
        rows: The rows to choose from, ascending; by default all.
    """
    wide_query = query.astype(np.float64)
    length = float(np.sqrt(np.square(wide_query).sum()))
    if rows is None:
        rows = np.arange(len(matrix))
    if top_k < len(rows):
        estimate, error = _estimate(matrix, norms, wide_query, length, metric)
        estimate, error = estimate[rows], error[rows]
        floor = np.partition(estimate - error, -top_k)[-top_k]
        rows = rows[estimate + error >= floor]
    scores = _scores(matrix[rows], norms[rows], wide_query, length, metric)
    order = np.argsort(-scores, kind="stable")[:top_k]
    return rows[order], scores[order]


def _estimate(
    matrix: Matrix, norms: Reals, query: Reals, length: float, metric: Metric
) -> tuple[Reals, Reals]:
    # Monotonic in the score, with a bound of its error: d roundings of a sum whose parts are no
    # larger than the norm, and d underflows. A query of length 1 keeps the sums from overflowing.
    unit = (query / (length or 1.0)).astype(np.float32)
    estimate: Reals = (matrix @ unit).astype(np.float64)
    dimensions = matrix.shape[1]
    error = (dimensions + 2) * float(_SINGLE.eps) * norms + dimensions * float(_SINGLE.tiny)
    if metric == "cosine":
        divisor = np.where(norms > 0, norms, 1.0)
        return estimate / divisor, error / divisor
    if metric == "euclidean":
        return 2 * length * estimate - np.square(norms), error * (2 * length + norms)
    return estimate, error


def _scores(matrix: Matrix, norms: Reals, query: Reals, length: float, metric: Metric) -> Reals:
    wide = matrix.astype(np.float64)
    if metric == "euclidean":
        distances: Reals = np.sqrt(np.square(wide - query).sum(axis=1))
        return 0.0 - distances
    # Not `wide @ query`: BLAS may sum equal rows in different orders.
    products: Reals = (wide * query).sum(axis=1)
    if metric == "dot":
        return products
    scale = norms * length
    cosines: Any = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return np.clip(cosines, -1.0, 1.0)
