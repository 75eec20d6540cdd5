"""Where the body of a request can end that comes in chunks."""

from __future__ import annotations

from collections.abc import Iterator

_EMPTY_LINE = b"\r\n\r\n"


class EmptyLines:
    """Cuts what comes of a body after each empty line.

    Source: RFC 9112, section 7.1: the last chunk and the trailers end with one.
    """

    def __init__(self) -> None:
        self._tail = b""

    def cut(self, data: bytes) -> Iterator[memoryview]:
        """Return the pieces of ``data``; an empty line may have begun in what came before."""
        view = memoryview(data)
        begin = 0
        while begin < len(data):
            end = self._end_of_piece(data, begin)
            yield view[begin:end]
            begin = end
        self._tail = (self._tail + data)[1 - len(_EMPTY_LINE) :]

    def _end_of_piece(self, data: bytes, begin: int) -> int:
        length = len(_EMPTY_LINE)
        if begin == 0 and (found := (self._tail + data[: length - 1]).find(_EMPTY_LINE)) >= 0:
            return found + length - len(self._tail)
        found = data.find(_EMPTY_LINE, begin)
        return len(data) if found < 0 else found + length
