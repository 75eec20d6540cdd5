"""The file of a cassette: YAML that people can read, compare and edit."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import yaml

from flowcore.errors import BackendError
from flowcore.schema import ChunkEnum, FlowStreamChunk, Message, Tool, ToolCall
from flowcore.testing.secret_forms import all_forms

FORMAT = 1
_OWN_KEYS = frozenset(
    {
        *("request", "model", "messages", "tools", "params", "texts", "vectors"),
        *("chunks", "at", "last", "left", "error", "code", "status", "message"),
        *(*map(str, ChunkEnum), *Message.model_fields, *Tool.model_fields, *ToolCall.model_fields),
    }
)
"""The names of the format, which stay whatever a secret is."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
HEADER = """\
# What a model was asked and what it answered, recorded by flowcore.testing; replayed in this order.
# To record it anew: pytest --record=all
"""


@dataclass
class Recording:
    """One call of a model.

    Attributes:
        request: What it was asked.
        chunks: What it streamed, each chunk with its time since the call, in seconds.
        vectors: What an embedding model returned.
        error: The error with which it refused, its text and code.
        left: Whether the reader left before the end.
    """

    request: dict[str, Any]
    chunks: list[tuple[float, FlowStreamChunk]] = field(
        default_factory=list[tuple[float, FlowStreamChunk]]
    )
    vectors: list[list[float]] | None = None
    error: dict[str, Any] | None = None
    left: bool = False


def read(path: Path) -> list[Recording]:
    """Return the recordings of a file.

    Raises:
        BackendError: If it cannot be read, or is no cassette.
    """
    try:
        source = path.read_text(encoding="utf-8")
        # libyaml refuses the halves of a character that a model may send one by one.
        is_plain = _SURROGATE.search(source) is None
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if is_plain else yaml.SafeLoader
        data: Any = yaml.load(source, loader)  # noqa: S506 - both are safe
        if data["format"] == FORMAT:
            return [_recording(call) for call in data["calls"]]
        error: Exception = ValueError(f"its format is {data['format']!r}, not {FORMAT}")
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError) as fault:
        error = fault
    text = f"{path} cannot be read as a cassette: {type(error).__name__}: {error}"
    raise BackendError(text, code="cassette_invalid")


def write(path: Path, recordings: Sequence[Recording], secrets: Sequence[str] = ()) -> None:
    """Write a file, all at once, so that a crash leaves the old one.

    Args:
        path: The file; its folder is made.
        recordings: What it holds.
        secrets: Texts to replace by asterisks, also where base64 or escapes stand for them.
    """
    hidden = all_forms(secrets)
    calls = [_dumped(_whole_secrets_hidden(recording, hidden)) for recording in recordings]
    # In the texts themselves: in YAML a text may be quoted, and a secret be a word of the format.
    data = {"format": FORMAT, "calls": [_without(hidden, call) for call in calls]}
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(HEADER + text, encoding="utf-8", newline="\n")
    temporary.replace(path)


def request_text(request: Mapping[str, Any]) -> str:
    """Return a request as it stands in the file."""
    return yaml.dump(
        dict(request), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf")
    )


def _whole_secrets_hidden(recording: Recording, secrets: Sequence[str]) -> Recording:
    """Return a recording without the secrets that its chunks make up together."""
    chunks = list(recording.chunks)
    for kind in ChunkEnum:
        places = [
            number
            for number, (_, chunk) in enumerate(chunks)
            if chunk.chunk_type is kind and isinstance(chunk.chunk, str)
        ]
        texts = [str(chunks[number][1].chunk) for number in places]
        whole = "".join(texts)
        characters = list(whole)
        for secret in secrets:
            for found in re.finditer(re.escape(secret), whole):
                characters[found.start() : found.end()] = ["***", *[""] * (len(secret) - 1)]
        left = iter(characters)
        for number, text in zip(places, texts, strict=True):
            at, chunk = chunks[number]
            hidden = "".join(islice(left, len(text)))
            if hidden != text:
                chunks[number] = (at, chunk.model_copy(update={"chunk": hidden}))
    return replace(recording, chunks=chunks)


def _without(secrets: Sequence[str], value: Any) -> Any:
    """Return a value with asterisks in place of the secrets in its texts, names among them."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "***")
        return value
    kind: Any = value.__class__
    if isinstance(value, dict):
        pairs: dict[object, object] = {}
        for key, item in cast("dict[object, object]", value).items():
            name = key if key in _OWN_KEYS else _without(secrets, key)
            while name in pairs:
                name = f"{name}*"  # two secrets were the names of two things
            pairs[name] = _without(secrets, item)
        return kind(pairs)
    if isinstance(value, list):
        return kind(_without(secrets, item) for item in cast("list[object]", value))
    return value


class _Line(dict[str, Any]):
    """A mapping that is written in one line."""


class _Row(list[Any]):
    """A list that is written in one line."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write what occurs twice as it is, twice."""
        del data
        return True


def _write_text(dumper: Any, text: str) -> yaml.Node:
    # PyYAML writes these as they are, and reads a line break.
    odd = any(character in text for character in "\r\x85\u2028\u2029\ufeff")
    style = '"' if odd else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _write_line(dumper: Any, line: _Line) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", line.items(), flow_style=True)


def _write_row(dumper: Any, row: _Row) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", row, flow_style=True)


_Dumper.add_representer(str, _write_text)
_Dumper.add_representer(_Line, _write_line)
_Dumper.add_representer(_Row, _write_row)


def _dumped(recording: Recording) -> dict[str, Any]:
    call: dict[str, Any] = {"request": recording.request}
    if recording.vectors is not None:
        call["vectors"] = [_Row(vector) for vector in recording.vectors]
        return call
    call["chunks"] = [_dumped_chunk(at, chunk) for at, chunk in recording.chunks]
    if recording.error is not None:
        call["error"] = recording.error
    if recording.left:
        call["left"] = True
    return call


def _dumped_chunk(at: float, chunk: FlowStreamChunk) -> _Line:
    line = _Line({"at": round(at, 3), str(chunk.chunk_type): chunk.chunk})
    rest = {"last": chunk.done, "metadata": chunk.metadata}
    return _Line({**line, **{key: value for key, value in rest.items() if value}})


def _recording(call: Mapping[str, Any]) -> Recording:
    return Recording(
        request=call["request"],
        chunks=[_chunk(line) for line in cast("list[Any]", call.get("chunks") or [])],
        vectors=call.get("vectors"),
        error=call.get("error"),
        left=call.get("left", False),
    )


def _chunk(line: Mapping[str, Any]) -> tuple[float, FlowStreamChunk]:
    kind = next((key for key in line if key in set(ChunkEnum)), None)
    if kind is None:
        raise ValueError(f"a chunk is one of {', '.join(ChunkEnum)}, which {line!r} is not")
    chunk = FlowStreamChunk(
        chunk_type=ChunkEnum(kind),
        chunk=line[kind],
        done=line.get("last", False),
        metadata=line.get("metadata") or {},
    )
    return cast("float", line.get("at", 0.0)), chunk
