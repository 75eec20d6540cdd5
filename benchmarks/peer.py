"""What a peer's script says about itself, in its PEP 723 block."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PEERS = Path(__file__).with_name("peers")
_BLOCK = re.compile(r"(?m)^# /// script$\n(?P<content>(^#(| .*)$\n)+)^# ///$")


@dataclass(frozen=True)
class Request:
    """A request that makes a peer do one thing.

    Attributes:
        path: The path, for example ``"/burst"``.
        body: The JSON body, encoded.
    """

    path: str
    body: bytes


@dataclass(frozen=True)
class Peer:
    """Something to measure: a script that serves, and what it needs.

    Attributes:
        name: The name of its file, without ``.py``.
        title: What the table calls it.
        tasks: The ids of the tasks that it can do.
        settings: How it is run, in words, for the results.
        script: Its file.
        dependencies: What its environment holds, each as for pip.
        repo: Folders of this repository that are installed there too, each perhaps with an
            ``[extra]``.
        alone: What is installed there without what it depends on, each as constraints.txt has it.
        imports: The statement that the time of the import is taken of, or nothing.
        format: ``"events"`` if a stream's chunks are events with JSON, ``"text"`` if bare text.
        health: The path that answers 200 once the server works.
        paths: For some endpoints, a path that differs from ``/`` and the endpoint's name.
        bodies: For some endpoints, a body that differs from the usual.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    settings: str
    script: Path
    dependencies: tuple[str, ...]
    repo: tuple[str, ...]
    alone: tuple[str, ...]
    imports: str
    format: str
    health: str
    paths: Mapping[str, str]
    bodies: Mapping[str, Any]

    def request(self, endpoint: str, **fields: Any) -> Request:
        """Say how this peer is asked for an endpoint.

        Args:
            endpoint: For example ``"burst"``.
            **fields: Fields of the body beside ``query``; where the peer wraps its input, they
                stand inside.
        """
        fields = {"query": "what is ai", **fields}
        body: Any = self.bodies.get(endpoint, self.bodies.get("*", "{fields}"))
        return Request(
            self.paths.get(endpoint, f"/{endpoint}"), json.dumps(_fill(body, fields)).encode()
        )


def _fill(body: Any, fields: Mapping[str, Any]) -> Any:
    if body == "{fields}":
        return fields
    if isinstance(body, dict):
        return {key: _fill(value, fields) for key, value in body.items()}  # pyright: ignore[reportUnknownVariableType]
    return body


def all_peers() -> dict[str, Peer]:
    """Return every peer by name."""
    return {path.stem: read(path) for path in sorted(PEERS.glob("*.py"))}


def read(script: Path) -> Peer:
    """Read the PEP 723 block of a script.

    Raises:
        ValueError: The script has no such block, or its ``tool.bench`` has an unknown key.
    """
    match = _BLOCK.search(script.read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{script} has no '# /// script' block: see benchmarks/README.md")
    lines = match["content"].splitlines()
    block = tomllib.loads("\n".join(line[2:] for line in lines))
    bench: dict[str, Any] = dict(block["tool"]["bench"])
    peer = Peer(
        name=script.stem,
        title=bench.pop("title", script.stem),
        tasks=tuple(bench.pop("tasks")),
        settings=bench.pop("settings", ""),
        script=script,
        dependencies=tuple(block.get("dependencies", ())),
        repo=tuple(bench.pop("repo", ())),
        alone=tuple(bench.pop("alone", ())),
        imports=bench.pop("imports", ""),
        format=bench.pop("format", "events"),
        health=bench.pop("health", "/health"),
        paths=bench.pop("paths", {}),
        bodies=bench.pop("bodies", {}),
    )
    if bench:
        raise ValueError(f"{script}: unknown keys in [tool.bench]: {', '.join(sorted(bench))}")
    return peer
