"""Server-Sent Events without I/O: a decoder of bytes, shared by all clients.

Source: WHATWG HTML, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from flowcore.errors import FlowcoreError

_LINE_END = re.compile("\r\n|\n|\r")
_BOM = "\ufeff"


class SSEEvent(NamedTuple):
    """One dispatched event: its data, its type and the last event id seen so far."""

    data: str
    event: str
    id: str


class SSETooLargeError(FlowcoreError):
    """An event outgrew the decoder's limit."""

    code = "sse_event_too_large"


class SSEDecoder:
    """Turns the bytes of an event stream, split anywhere, into events.

    Only CRLF, LF and CR end a line: text may hold U+0085, U+2028 and U+2029, at which
    ``str.splitlines`` would cut it. An event that no blank line ends is never dispatched.

    Args:
        max_event_chars: Longest event in characters before :class:`SSETooLargeError`.
    """

    def __init__(self, max_event_chars: int = 64 * 1024 * 1024) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._limit = max_event_chars
        self._at_start = True
        self._after_cr = False
        self._partial: list[str] = []
        self._partial_chars = 0
        self._data: list[str] = []
        self._data_chars = 0
        self._event = ""
        self._id = ""

    def feed(self, data: bytes) -> list[SSEEvent]:
        """Return the events that ``data`` completes.

        Raises:
            SSETooLargeError: If an event outgrows the limit.
        """
        text = self._decoder.decode(data)
        if not text:
            return []
        if self._at_start:
            self._at_start = False
            text = text.removeprefix(_BOM)
        if self._after_cr:
            text = text.removeprefix("\n")
            self._after_cr = False
        if not text:
            return []
        self._after_cr = text.endswith("\r")
        # Most servers end lines with LF, and to look for one character is far quicker.
        lines = _LINE_END.split(text) if "\r" in text else text.split("\n")
        rest = lines.pop()
        events: list[SSEEvent] = []
        for part in lines:
            line = part
            if self._partial:
                line = "".join((*self._partial, part))
                self._partial.clear()
                self._partial_chars = 0
            if not line:
                if self._data:
                    events.append(
                        SSEEvent("\n".join(self._data), self._event or "message", self._id)
                    )
                    self._data.clear()
                    self._data_chars = 0
                self._event = ""
            elif line.startswith("data:"):
                self._add_data(line[6:] if line.startswith(" ", 5) else line[5:])
            else:
                self._take(line)
        if rest:
            self._partial.append(rest)
            self._partial_chars += len(rest)
        if self._partial_chars + self._data_chars > self._limit:
            raise SSETooLargeError(f"an event is longer than {self._limit} characters")
        return events

    def _take(self, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._add_data(value)
        elif field == "event":
            self._event = value
        elif field == "id" and "\0" not in value:
            self._id = value

    def _add_data(self, value: str) -> None:
        self._data.append(value)
        self._data_chars += len(value)
