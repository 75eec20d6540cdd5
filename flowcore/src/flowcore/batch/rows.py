"""The rows of a batch: lines of JSON, read block by block."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from pydantic_core import from_json

from flowcore.errors import BatchError

MAX_ROW_BYTES = 16 * 1024 * 1024
"""How long a line of the input may be; longer ones are failures."""

_BLOCK_BYTES = 64 * 1024
_OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK = b"\xef\xbb\xbf"


class InvalidRowError(Exception):
    """A line that holds no inputs; the message says why, and no value."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the input that is not blank.

    Attributes:
        number: Number of the line, counted from 1; blank lines count.
        text: The line, without white space around it.
        is_cut: Whether the line is longer than may be, and `text` only its beginning.
    """

    number: int
    text: bytes
    is_cut: bool = False

    @property
    def crc32(self) -> int:
        """Checksum of the text; never 0."""
        return zlib.crc32(self.text) or 1

    def inputs(self) -> dict[str, Any]:
        """Return the inputs that the row holds.

        Raises:
            InvalidRowError: If it holds none.
        """
        if self.is_cut:
            raise InvalidRowError(f"the line is longer than {len(self.text)} bytes")
        try:
            value = from_json(self.text.decode(), allow_inf_nan=False)
        except UnicodeDecodeError as error:
            raise InvalidRowError(f"the line is not UTF-8 (byte {error.start + 1})") from None
        except ValueError as error:
            raise InvalidRowError(f"the line is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise InvalidRowError(
                f"the line holds {_kind(value)}; it must be an object with the inputs of a run"
            )
        return cast("dict[str, Any]", value)


class RowReader:
    """Reads rows from a binary stream, never more than a block ahead.

    Args:
        stream: The stream; a read must return what is ready.
        name: Its name, for messages.
        max_bytes: How long a line may be.
    """

    def __init__(self, stream: BinaryIO, name: str, max_bytes: int = MAX_ROW_BYTES) -> None:
        self._stream = stream
        self._name = name
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._is_cut = False
        self._lines = 0
        self._is_at_start = True

    def read(self) -> list[Row] | None:
        """Wait for the next block and return the rows that end in it; None is the end.

        Raises:
            BatchError: If the stream begins as one of another encoding than UTF-8 does.
            OSError: If it cannot be read.
        """
        block = cast("bytes | None", self._stream.read(_BLOCK_BYTES))
        if block is None:
            raise BatchError(f"{self._name} does not wait for what is not there yet")
        if not block:
            return self._take() or None
        if self._is_at_start and block.startswith(_OTHER_ENCODINGS):
            raise BatchError(f"{self._name} is UTF-16; convert it to UTF-8")
        self._is_at_start = False
        *ends, rest = block.split(b"\n")
        rows: list[Row] = []
        for end in ends:
            self._add(end)
            rows += self._take()
        self._add(rest)
        return rows

    def _add(self, part: bytes) -> None:
        self._is_cut = self._is_cut or len(self._line) + len(part) > self._max_bytes
        self._line += part[: self._max_bytes - len(self._line)]

    def _take(self) -> list[Row]:
        if not self._lines and self._line.startswith(_UTF8_MARK):
            del self._line[: len(_UTF8_MARK)]
        self._lines += 1
        text = bytes(self._line.strip())
        row = Row(self._lines, text, self._is_cut)
        self._line.clear()
        self._is_cut = False
        return [row] if text else []


def _kind(value: object) -> str:
    match value:
        case list():
            return "a list"
        case str():
            return "a text"
        case bool():
            return "a boolean"
        case None:
            return "null"
        case _:
            return "a number"
