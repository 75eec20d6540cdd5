"""The bytes of an event stream: one event for each chunk, comments, and the end mark.

Source: WHATWG HTML, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from json.encoder import encode_basestring_ascii
from typing import Any

from pydantic_core import to_jsonable_python

from flowcore import ChunkEnum, FlowResponse, FlowStreamChunk, OpEvent

COMMENT = b":\n"
"""Clients skip it; proxies see that the connection is alive."""

_TYPES = {kind: f'{kind}","chunk":' for kind in ChunkEnum}
_PLAIN_TAIL = ',"done":false,"metadata":{}}\n\n'
_EVENT_ID = re.compile(r"([0-9a-f]{32})-([0-9]{1,18})")
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class EventEncoder:
    """Encodes what one run has to say as events, each with an id of run and sequence number.

    The events are ASCII, so that readers which split lines at U+0085, U+2028 or U+2029 get
    them whole.

    Args:
        run_id: Identifier of the run.
    """

    __slots__ = ("_id", "_run_id", "_start")

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._id = f"id:{run_id}-"
        self._start = f'\ndata:{{"flow_id":{_encode_text(run_id)},"chunk_type":"'

    def opening(self, number: int) -> bytes:
        """Return how a stream begins, of which the client has all events up to ``number``.

        Proxies pass the headers on with it, and a client that loses its connection now can resume.
        """
        return f":\n{self._id}{number}\n".encode("ascii")

    def text(self, text: str, kind: ChunkEnum) -> str:
        """Return the event of a chunk that is nothing but a valid text, all but its id."""
        return f"{self._start}{_TYPES[kind]}{encode_basestring_ascii(text)}{_PLAIN_TAIL}"

    def events(self, items: Iterable[FlowStreamChunk | OpEvent | str], number: int) -> bytes:
        """Return the events of all ``items``, joined to be sent as one write.

        Args:
            items: Chunks, what ops have done, and what :meth:`text` has made of chunks.
            number: Sequence number of the first one.
        """
        start, encode = self._id, self._encode
        events = [
            # What `text` returns is exactly a str, and this takes no call to find out.
            f"{start}{place}{item if type(item) is str else encode(item)}"  # pyright: ignore[reportArgumentType]
            for place, item in enumerate(items, number)
        ]
        return "".join(events).encode("ascii")

    def _encode(self, item: FlowStreamChunk | OpEvent) -> str:
        if isinstance(item, OpEvent):
            return f"\nevent:op\ndata:{encode_json(asdict(item))}\n\n"
        payload = item.chunk
        text = _encode_text(payload) if isinstance(payload, str) else encode_json(payload)
        done = "true" if item.done else "false"
        about = encode_json(item.metadata) if item.metadata else "{}"
        head = f"{self._start}{_TYPES[item.chunk_type]}{text}"
        return f'{head},"done":{done},"metadata":{about}}}\n\n'

    def end(self, number: int) -> bytes:
        """Return the last event of a stream that came to its end."""
        return f"{self._id}{number}\ndata:[DONE]\n\n".encode("ascii")

    def gap(self, first: int, last: int) -> bytes:
        """Return the event that stands for those which are no longer kept.

        Args:
            first: Sequence number of the first one.
            last: Sequence number of the last one.
        """
        about = encode_json({"flow_id": self._run_id, "first": first, "last": last})
        return f"{self._id}{last}\nevent:gap\ndata:{about}\n\n".encode("ascii")


def count_events(data: bytes) -> int:
    """Return how many events an encoder has joined."""
    return data.count(b"\n\n")


def split_events(data: bytes) -> list[bytes]:
    """Return the single events of what an encoder has joined."""
    # Within an event there is no empty line, for JSON in ASCII has no raw line ends.
    return [event + b"\n\n" for event in data.split(b"\n\n")[:-1]]


def parse_event_id(event_id: str) -> tuple[str, int] | None:
    """Return run and sequence number of an event id, or None if it is not one of ours."""
    match = _EVENT_ID.fullmatch(event_id)
    return None if match is None else (match[1], int(match[2]))


def encode_json(value: Any) -> str:
    """Return JSON in ASCII that every parser reads.

    What has no JSON form becomes its ``repr``, NaN and infinities become text, a lone surrogate
    becomes U+FFFD.
    """
    plain = to_jsonable_python(value, bytes_mode="base64", fallback=repr)
    text = _dumps(plain)
    if not ("\\ud" in text or "NaN" in text or "Infinity" in text):
        return text
    raw = _repair(json.dumps(plain, ensure_ascii=False))
    return _dumps(json.loads(raw, parse_constant=str))


def encode_response(response: FlowResponse) -> bytes:
    """Return the JSON of what a flow answers that is not streamed."""
    answer, metadata = response.answer, response.metadata
    text = _encode_text(answer) if isinstance(answer, str) else encode_json(answer)
    success = "true" if response.success else "false"
    about = encode_json(metadata) if metadata else "{}"
    return f'{{"answer":{text},"success":{success},"metadata":{about}}}'.encode("ascii")


def _encode_text(text: str) -> str:
    encoded = encode_basestring_ascii(text)
    # Emoji are pairs of surrogates too; the repair leaves those alone.
    return encode_basestring_ascii(_repair(text)) if "\\ud" in encoded else encoded


def _repair(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
