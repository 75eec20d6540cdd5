"""What ops emit, turned into chunks that belong to a run."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from flowcore.channel import OwnedChunk
from flowcore.errors import ChunkError, RunFailedError
from flowcore.failure import error_text
from flowcore.payload import json_bytes, repair_surrogates
from flowcore.schema import ChunkEnum, FlowResponse, FlowStreamChunk

_SPLIT_TYPES = frozenset({ChunkEnum.ANSWER, ChunkEnum.THINK})
_ANSWER, _THINK = ChunkEnum.ANSWER, ChunkEnum.THINK
_FIELDS = set(FlowStreamChunk.model_fields)
_set = object.__setattr__


def check_chunk(chunk: object, op: str) -> None:
    """Check that what an op emits is a chunk, for ops are not all type-checked, and no error.

    Raises:
        ChunkError: If it is no chunk.
        RunFailedError: If it is an error chunk.
    """
    if not isinstance(chunk, FlowStreamChunk):
        raise ChunkError(
            f"op {op!r} emitted {str(chunk)[:100]!r}, which is not a FlowStreamChunk; "
            "for a text use context.add_stream_text(…)"
        )
    if chunk.chunk_type == ChunkEnum.ERROR:
        text = plain_text(chunk.chunk) or "the op reported an error"
        raise RunFailedError(text, chunk.metadata)


def is_bare(chunk: object) -> bool:
    """Whether this is a chunk that has nothing but its type and its payload, as most have."""
    if type(chunk) is not FlowStreamChunk:
        return False
    fields = chunk.__dict__  # one look into a model instead of two
    return fields["done"] is False and fields["metadata"] == {}


def text_size(payload: object, kind: object) -> int:
    """Return the size in bytes of what a bare chunk says if it is a valid text; else 0.

    Such a chunk needs no check, and :func:`text_chunk` copies it.
    """
    if type(payload) is str and (kind is _ANSWER or kind is _THINK):
        return len(payload) if payload.isascii() else utf8_size(payload)
    return 0


def chunk_of_text(text: object, kind: object, op: str) -> FlowStreamChunk:
    """Return a text as a chunk.

    Raises:
        ChunkError: If it is no text, or there are no chunks of this type.
    """
    if not isinstance(text, str):
        raise ChunkError(
            f"op {op!r} emitted {str(text)[:100]!r} as a text, which it is not; "
            "for other payloads use context.add_stream_chunk(FlowStreamChunk(…))"
        )
    if kind not in tuple(ChunkEnum):
        types = ", ".join(ChunkEnum)
        raise ChunkError(f"op {op!r} emitted a text of type {str(kind)[:100]!r}; types: {types}")
    return FlowStreamChunk(chunk=text, chunk_type=ChunkEnum(kind))


def utf8_size(text: str) -> int:
    """Return how many bytes a text has, 0 if there is a lone surrogate in it."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0


def text_chunk(text: object, run_id: str, kind: ChunkEnum = _ANSWER) -> FlowStreamChunk:
    """Return a chunk as pydantic would make it of these valid values, for half of the cost."""
    chunk = FlowStreamChunk.__new__(FlowStreamChunk)
    fields: dict[str, Any] = {
        "flow_id": run_id,
        "chunk_type": kind,
        "chunk": text,
        "done": False,
        "metadata": {},
    }
    _set(chunk, "__dict__", fields)
    _set(chunk, "__pydantic_fields_set__", _FIELDS)  # shared: there are no others to be added
    _set(chunk, "__pydantic_extra__", None)
    _set(chunk, "__pydantic_private__", None)
    return chunk


def own_chunk(chunk: FlowStreamChunk, run_id: str, op: str) -> OwnedChunk:
    """Return a checked copy of a chunk, for a run.

    A copy, for the op may keep the chunk, change it or send it to other runs as well; and a
    checked one, for assignments to a chunk's fields are not.

    Args:
        chunk: The chunk.
        run_id: Identifier of the run.
        op: Name of the op, for messages.

    Raises:
        ChunkError: If the payload has no JSON form.
    """
    payload, metadata = chunk.chunk, chunk.metadata
    size = 0
    try:
        if not isinstance(payload, str):
            text = json_bytes(payload)
            size += len(text)
            payload = from_json(text)
        elif payload.isascii():
            size += len(payload)
        else:
            payload = repair_surrogates(payload)
            size += len(payload.encode())
        if metadata:
            text = json_bytes(metadata)
            size += len(text)
            metadata = from_json(text)
        owned = FlowStreamChunk(
            flow_id=run_id,
            chunk_type=chunk.chunk_type,
            chunk=payload,
            done=chunk.done,
            metadata=metadata,
        )
    except ValueError as error:  # pydantic's ValidationError is one
        what = f"a chunk of type {str(chunk.chunk_type)[:100]}"
        raise ChunkError(
            f"op {op!r} emitted {what} that cannot be streamed: {error_text(error)}"
        ) from None
    return OwnedChunk(owned, size)


def own_pieces(chunk: FlowStreamChunk, run_id: str, op: str, limit: int) -> list[OwnedChunk]:
    """Return what :func:`own_chunk` does; if its text is longer than ``limit``, in pieces.

    Raises:
        ChunkError: If the payload has no JSON form, or is too large and no text.
    """
    owned = own_chunk(chunk, run_id, op)
    return [owned] if owned.size <= limit else split_text(owned, op, limit)


def own_answer(response: FlowResponse, run_id: str, flow: str, limit: int) -> list[FlowStreamChunk]:
    """Return the answer of a run as chunks, none if it is empty, and make the response own it.

    Args:
        response: What the ops answered; what of it is changed is its form, not its meaning.
        run_id: Identifier of the run.
        flow: Name of the flow, for messages.
        limit: How large each chunk of a text may be, in bytes.

    Raises:
        ChunkError: If the answer or the metadata have no JSON form.
    """
    answer, metadata = response.answer, response.metadata
    if answer == "" and not metadata:
        return []
    if type(answer) is str and not metadata and (size := utf8_size(answer)):
        owned = OwnedChunk(text_chunk(answer, run_id), size)
    else:
        chunk = FlowStreamChunk.model_construct(
            chunk_type=_ANSWER, chunk=answer, done=False, metadata=metadata
        )
        owned = own_chunk(chunk, run_id, flow)
        answer = response.answer = owned.chunk.chunk
        response.metadata = owned.chunk.metadata
    if answer == "":
        return []
    if owned.size > limit and isinstance(answer, str):
        return [piece.chunk for piece in split_text(owned, flow, limit)]
    return [owned.chunk]


def split_text(owned: OwnedChunk, op: str, limit: int) -> list[OwnedChunk]:
    """Return a chunk whose text is too long as several, in order.

    Args:
        owned: The chunk.
        op: Name of the op, for messages.
        limit: How large each may be, in bytes.

    Raises:
        ChunkError: If it is no text, or its metadata is too large.
    """
    whole = owned.chunk
    text = whole.chunk
    rest = owned.size - len(text.encode()) if isinstance(text, str) else 0  # the metadata
    if not isinstance(text, str) or whole.chunk_type not in _SPLIT_TYPES or rest > limit:
        raise ChunkError(
            f"op {op!r} emitted a chunk of type {whole.chunk_type} with {owned.size} bytes; "
            f"max_chunk_bytes is {limit}"
        )
    step = limit if text.isascii() else limit // 4  # no character has more than 4 bytes
    texts = [text[start : start + step] for start in range(0, len(text), step)]
    pieces = [
        whole.model_copy(update={"chunk": piece, "metadata": {}, "done": False}) for piece in texts
    ]
    # What is said of the whole stands at its end.
    pieces[-1] = whole.model_copy(update={"chunk": texts[-1]})
    sizes = [len(piece.encode()) for piece in texts]
    sizes[-1] += rest
    return [OwnedChunk(piece, size) for piece, size in zip(pieces, sizes, strict=True)]


def plain_text(payload: object) -> str:
    """Return the text of a payload, which is JSON if it is no text."""
    return payload if isinstance(payload, str) else json_bytes(payload).decode()
