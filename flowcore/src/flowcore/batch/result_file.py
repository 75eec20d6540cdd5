"""A file of results: written line by line, by one process at a time, and read again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from pydantic_core import from_json

from flowcore.errors import BatchError

MAX_ROWS = 100_000_000
"""The last line of an input that can be remembered."""

_BEGINNING = b'{"row":'
_LOCKED_BYTE = 1 << 62
_LINE_OF_OTHERS = (
    "is not a result of `flowcore batch`; give another file for the results, or mend the line: "
    "what was written right before a loss of power may be damaged, and `truncate --size={end} "
    "{path}` keeps what is before it"
)


class ResultFile:
    """A file of results, open for this process only.

    Args:
        path: Where it is; it is made if there is none.

    Raises:
        BatchError: If it is no regular file, or another process has it.
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        if path.exists() and not path.is_file():
            raise BatchError(f"{path} is no regular file, as results need to be continued")
        self._fd = os.open(path, flags, 0o666)
        try:
            _lock(self._fd, path)
            self.status = os.fstat(self._fd)
        except BaseException:
            os.close(self._fd)
            raise
        self._end = self.status.st_size
        self._is_synced = True

    def results(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the number and the content of each line; a last one without its end is left out.

        Raises:
            BatchError: If a line is no result.
        """
        end = 0
        with open(self._fd, "rb", closefd=False) as file:
            file.seek(0)
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n") and _is_torn(line):
                    break
                if (result := _parsed(line)) is None or not line.endswith(b"\n"):
                    what = _LINE_OF_OTHERS.format(end=end, path=self.path)
                    raise BatchError(f"{self.path}:{number}: the line {what}")
                end += len(line)
                yield number, result
        self._end = end

    def cut(self) -> None:
        """Cut off the line without its end that `results` has found."""
        if self._end != os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, self._end)

    def clear(self) -> None:
        """Remove all lines."""
        self._end = 0
        self.cut()

    def append(self, line: bytes) -> None:
        """Write a line, whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)
            error.filename = str(self.path)
            raise
        self._end += len(line)
        self._is_synced = False

    def sync(self) -> None:
        """Have the disk keep what is written."""
        if not self._is_synced:
            self._is_synced = True
            os.fsync(self._fd)

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync()
        finally:
            os.close(self._fd)

    @property
    def is_empty(self) -> bool:
        """Whether it has no lines."""
        return self._end == 0


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    """Return a result, or None if the line is none."""
    try:
        value = from_json(line)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    result = cast("dict[str, Any]", value)
    row, crc32 = result.get("row"), result.get("crc32")
    is_ours = (
        (type(row) is int and 0 < row <= MAX_ROWS)
        and (type(crc32) is int and 0 < crc32 < 1 << 32)
        and isinstance(result.get("flow"), str)
    )
    return result if is_ours else None


def _is_torn(line: bytes) -> bool:
    """Return whether this may be the beginning of a result, or what a loss of power left of it."""
    text = line.rstrip(b"\0")
    return _BEGINNING.startswith(text[: len(_BEGINNING)])


def _lock(fd: int, path: Path) -> None:
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415 - where there is no fcntl

            # Others may read what is before that byte.
            os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            os.lseek(fd, 0, os.SEEK_SET)
        else:
            import fcntl  # noqa: PLC0415 - where there is no msvcrt

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise BatchError(f"{path} is being written by another process") from None
    except OSError as error:
        raise BatchError(f"{path} cannot be locked: {error.strerror}; use a local disk") from None
