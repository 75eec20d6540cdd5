"""The framing of a chunked HTTP/1.1 body, taken off many chunks at once. Without I/O.

Source: RFC 9112, section 7.1.
"""

from __future__ import annotations

import re

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_SIZE_LINE_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,16}\r?")


class ChunkedBody:
    """Takes plain chunks: no extensions, and not the last one with its trailers.

    What is not plain, it leaves as it is, from the beginning of a chunk on, for a parser that
    knows all of HTTP.

    Attributes:
        rest: Bytes that are not taken yet.
        plain: Whether more bytes may make it possible to take more.
        broken: Whether a chunk is longer than it says; nothing can be read any more.
    """

    def __init__(self) -> None:
        self.rest = b""
        self.plain = True
        self.broken = False
        self._missing = 0
        self._unended = False

    def feed(self, data: bytes) -> bytes:
        """Return the content of the chunks in ``data``, of the last one as far as it is there."""
        if self.rest:
            data = self.rest + data
        content: list[bytes] = []
        at, end = 0, len(data)
        while True:
            if self._missing:
                piece = data[at : at + self._missing]
                content.append(piece)
                at += len(piece)
                self._missing -= len(piece)
                if self._missing:
                    break
                self._unended = True
            if self._unended:
                if not data.startswith(b"\r\n", at):
                    self.broken = not b"\r\n".startswith(data[at:])
                    break
                at += 2
                self._unended = False
            line = _SIZE_LINE.match(data, at)
            size = int(line[1], 16) if line else 0
            if line is None or not size:
                self.plain = line is None and bool(_SIZE_LINE_BEGUN.fullmatch(data, at))
                break
            at = line.end()
            self._missing = size
        self.rest = data[at:end]
        return b"".join(content)
