"""Workspaces as JSON Lines files."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from flowcore import BackendError, VectorNode


def write_nodes(path: Path, nodes: Iterable[VectorNode]) -> int:
    """Write nodes to a file, one JSON object a line in UTF-8; return their number.

    The file appears whole or not at all: a neighbour of it is written and then takes its place.

    Raises:
        BackendError: If the file cannot be written, or a node has metadata with no JSON form.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    count = 0
    try:
        with partial.open("xb") as file:
            for node in nodes:
                file.write(_encode(node))
                count += 1
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise BackendError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return count


def read_nodes(path: Path) -> list[VectorNode]:
    """Read the nodes of a file that :func:`write_nodes` wrote, or that looks like one.

    Blank lines are skipped.

    Raises:
        BackendError: If the file cannot be read, a line is no node, or an id stands twice.
    """
    nodes: dict[str, VectorNode] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                node = _decode(line, f"{str(path)!r}, line {number}")
                if node.unique_id in nodes:
                    raise BackendError(
                        f"{str(path)!r}, line {number}: "
                        f"the node id {node.unique_id!r} stands in an earlier line too"
                    )
                nodes[node.unique_id] = node
    except OSError as error:
        raise BackendError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    return list(nodes.values())


def _encode(node: VectorNode) -> bytes:
    try:
        # Only a check: pydantic is ten times as fast, but writes NaN as null.
        json.dumps(node.metadata, allow_nan=False)
        return node.model_dump_json(exclude={"score"}).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise BackendError(f"node {node.unique_id!r} has no JSON form: {error}") from error


def _decode(line: bytes, where: str) -> VectorNode:
    try:
        return VectorNode.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise BackendError(
            f"{where}: not a node: {f'{field}: ' if field else ''}{first['msg']}"
        ) from error
