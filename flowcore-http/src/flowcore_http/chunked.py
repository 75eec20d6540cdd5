"""The body of a request that comes in chunks.

Parsers differ in what they take for the end of a line, or for an extension; so could the readers
that a request passes on its way, and one of them would see two requests where another sees one.
Here each line is what the grammar says, or the request is refused.

Source: RFC 9112, section 7.1.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from flowcore_http.problem import HttpProblem
from flowcore_http.request_head import MAX_HEAD_BYTES, headers_too_large, malformed

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSION = rf"[ \t]*;[ \t]*{_NAME}(?:[ \t]*=[ \t]*(?:{_NAME}|{_QUOTED}))?"


class _Line(NamedTuple):
    pattern: re.Pattern[bytes]
    fault: str


def _line(pattern: str, fault: str) -> _Line:
    return _Line(re.compile(rf"{pattern}\r\n".encode("latin-1")), fault)


_SIZE = _line(
    f"([0-9A-Fa-f]{{1,16}})(?:{_EXTENSION})*",
    "a chunk does not begin with a line that says its size",
)
_END = _line("", "a chunk does not end where its size says")
_FIELD = _line(
    rf"(?:{_NAME}:[\t -~\x80-\xff]*)?",
    "what follows the last chunk is not fields and an empty line",
)


class ChunkedBody:
    """A body in chunks, which comes in pieces of any size.

    Extensions of chunks are dropped, and so are the fields that follow the last one.

    Attributes:
        is_whole: Whether it has come to its end.
        problem: What is wrong with it, or None.
    """

    __slots__ = ("_ahead", "_expected", "_framing_bytes", "_remaining", "is_whole", "problem")

    def __init__(self) -> None:
        self.is_whole = False
        self.problem: HttpProblem | None = None
        self._ahead: bytes = b""  # a line that has not ended
        self._expected = _SIZE
        self._remaining = 0  # of the content of a chunk
        self._framing_bytes = 0  # since there was content

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Take what has come, and return the content in it, and what follows the body."""
        data = self._ahead + data
        self._ahead = b""
        contents: list[bytes] = []
        begin = 0
        while begin < len(data) and not self.is_whole and self.problem is None:
            if self._remaining:
                content = data[begin : begin + self._remaining]
                contents.append(content)
                begin += len(content)
                self._remaining -= len(content)
                self._framing_bytes = 0
                continue
            end = data.find(b"\n", begin) + 1
            if self._framing_bytes + (end or len(data)) - begin > MAX_HEAD_BYTES:
                self.problem = self._too_long()
            elif not end:
                self._ahead = data[begin:]
                break
            else:
                self._framing_bytes += end - begin
                self._take_line(data[begin:end])
                begin = end
        return b"".join(contents), data[begin:] if self.is_whole else b""

    def _take_line(self, line: bytes) -> None:
        match = self._expected.pattern.fullmatch(line)
        if match is None:
            self.problem = malformed(
                f"the end of its body is not clear, for {self._expected.fault}"
            )
        elif self._expected is _SIZE:
            self._remaining = int(match[1], 16)
            self._expected = _END if self._remaining else _FIELD
        elif self._expected is _END:
            self._expected = _SIZE
        else:
            self.is_whole = line == b"\r\n"

    def _too_long(self) -> HttpProblem:
        if self._expected is _FIELD:
            detail = f"The fields after the body have more than {MAX_HEAD_BYTES} bytes."
            return headers_too_large(detail)
        reason = f"there are more than {MAX_HEAD_BYTES} bytes between two chunks"
        return malformed(f"the end of its body is not clear, for {reason}")
