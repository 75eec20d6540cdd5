"""The bytes of an event stream: one event for each chunk, comments, and the end mark.

Source: WHATWG HTML, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii
from typing import Any

from pydantic_core import to_jsonable_python

from flowcore import FlowStreamChunk

DONE = b"data:[DONE]\n\n"
"""The last event of every stream that came to its end."""

COMMENT = b":\n\n"
"""Clients skip it; proxies see that the connection is alive."""

_PLAIN_END = ',"done":false,"metadata":{}}\n\n'
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class ChunkEncoder:
    """Encodes the chunks of one run as events.

    The events are ASCII, so that readers which split lines at U+0085, U+2028 or U+2029 get
    them whole.

    Args:
        flow_id: Identifier of the run.
    """

    def __init__(self, flow_id: str) -> None:
        self._start = f'data:{{"flow_id":{_encode_text(flow_id)},"chunk_type":"'
        self._prefixes: dict[str, str] = {}

    def encode(self, chunks: Iterable[FlowStreamChunk]) -> bytes:
        """Return the events of all ``chunks``, joined to be sent as one write."""
        parts: list[str] = []
        for chunk in chunks:
            kind = chunk.chunk_type
            prefix = self._prefixes.get(kind)
            if prefix is None:
                prefix = self._prefixes[kind] = f'{self._start}{kind}","chunk":'
            payload = chunk.chunk
            text = _encode_text(payload) if isinstance(payload, str) else encode_json(payload)
            end = _PLAIN_END
            if chunk.metadata or chunk.done:
                done = "true" if chunk.done else "false"
                end = f',"done":{done},"metadata":{encode_json(chunk.metadata)}}}\n\n'
            parts += (prefix, text, end)
        return "".join(parts).encode("ascii")


def encode_json(value: Any) -> str:
    """Return JSON in ASCII that every parser reads.

    What has no JSON form becomes its ``repr``, NaN and infinities become text, a lone surrogate
    becomes U+FFFD.
    """
    plain = to_jsonable_python(value, bytes_mode="base64", fallback=repr)
    raw = _repair(json.dumps(plain, ensure_ascii=False))
    return _dumps(json.loads(raw, parse_constant=str))


def _encode_text(text: str) -> str:
    encoded = encode_basestring_ascii(text)
    # Emoji are pairs of surrogates too; the repair leaves those alone.
    return encode_basestring_ascii(_repair(text)) if "\\ud" in encoded else encoded


def _repair(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
