"""What is recorded of a call: data of its own, without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic_core import to_jsonable_python

from flowcore.errors import BackendError
from flowcore.failure import error_text
from flowcore.schema import FlowStreamChunk, Message, Tool

_SECRET_NAME = re.compile(
    r"^(extra_headers|headers|auth|authorization|cookie|credentials?|passw.*|secret.*|token)$"
    r"|(^|[-_])(api[-_]?key|secret|password|(access|auth)[-_]token)$",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def chat_request(
    model: str, messages: Sequence[Message], tools: Sequence[Tool], params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a chat model is asked, as it is recorded: without secrets and metadata.

    Raises:
        BackendError: If a message or a tool holds what cannot be written.
    """
    request: dict[str, Any] = {"model": model, "messages": [_message(m) for m in messages]}
    if tools:
        request["tools"] = [_plain(tool.model_dump(), f"the tool {tool.name!r}") for tool in tools]
    if params:
        request["params"] = _masked(params)
    return request


def embedding_request(
    model: str, texts: Sequence[str], params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what an embedding model is asked, as it is recorded."""
    request: dict[str, Any] = {"model": model, "texts": list(texts)}
    if params:
        request["params"] = _masked(params)
    return request


def recorded_chunk(chunk: FlowStreamChunk, model: str) -> FlowStreamChunk:
    """Return a chunk as it is recorded: a copy, which the op cannot change.

    Args:
        chunk: The chunk.
        model: Name of the model, for messages.

    Raises:
        BackendError: If it holds what cannot be written.
    """
    data = chunk.model_dump(include={"chunk_type", "chunk", "done", "metadata"})
    what = f"a chunk of type {chunk.chunk_type} of the model {model!r}"
    return FlowStreamChunk(**_plain(data, what))


def _message(message: Message) -> dict[str, Any]:
    data = message.model_dump(exclude={"metadata"}, exclude_defaults=True)
    return _plain({"role": message.role, **data}, f"a message of role {message.role}")


def _masked(value: Any) -> Any:
    """Return a value as JSON has it, with secrets masked."""
    if isinstance(value, Mapping):
        return {
            str(key): "***" if _SECRET_NAME.search(str(key)) else _masked(item)
            for key, item in cast("Mapping[object, object]", value).items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item) for item in cast("Sequence[object]", value)]
    if value is None or isinstance(value, str | int | float | bool):
        return _jsonable(value)
    return _ADDRESS.sub("", repr(value))


def _plain(data: dict[str, Any], what: str) -> Any:
    try:
        return _jsonable(data)
    except (ValueError, RecursionError) as error:
        raise BackendError(
            f"{what} cannot be recorded: {error_text(error)}; a cassette holds texts, numbers, "
            "booleans, None, and lists and dicts of these"
        ) from None


def _jsonable(value: Any) -> Any:
    """Return a value as JSON has it.

    Infinities, NaN and the halves of a character stay, which JSON lacks, but YAML has.
    """
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {_key(key): _jsonable(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in cast("Sequence[Any]", value)]
    return to_jsonable_python(value, inf_nan_mode="constants")


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    (text,) = to_jsonable_python({key: None}, inf_nan_mode="constants")
    return text
