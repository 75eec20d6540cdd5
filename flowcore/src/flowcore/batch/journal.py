"""What a batch has done so far: the two files of its results, which are also its memory.

A line is written at once when its row is done, so that whoever kills the process loses nothing that
is done; what they may leave is a line without its end, which the next start cuts off. Once in two
seconds the files are synced, so that a loss of power costs no more than those.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from pydantic_core import from_json

from flowcore.batch.rows import Row
from flowcore.errors import BatchError
from flowcore.payload import json_bytes

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


class Journal:
    """Which rows of a batch are done, and where their results go.

    Args:
        flow: Name of the flow.
        answers: File of the rows that were answered.
        failures: File of the rows that failed; it is there only if any did.

    Attributes:
        answered: How many rows had been answered before this start.
        failed: How many rows had failed before this start, and are not tried again.
    """

    def __init__(self, flow: str, answers: Path, failures: Path) -> None:
        self._flow = flow
        self._failures_path = failures
        self._answered = array("I")
        self._failed = array("I")
        self.answered = 0
        self.failed = 0
        self._answers = ResultFile(answers)
        self._failures: ResultFile | None = None
        try:
            if failures.exists():
                self._open_failures()
        except BaseException:
            self._answers.close()
            raise

    def files(self) -> list[ResultFile]:
        """Return the files that are open."""
        return [file for file in (self._answers, self._failures) if file is not None]

    def load(self) -> None:
        """Read which rows are done.

        Raises:
            BatchError: If a file holds something else, or the results of another flow.
        """
        self.answered = self._load(self._answers, self._answered)
        if self._failures is not None:
            self.failed = self._load(self._failures, self._failed)

    def forget_failures(self) -> None:
        """Let `wants` want the rows again that have failed; `begin` removes them."""
        self._failed = array("I")
        self.failed = 0

    def wants(self, row: Row) -> bool:
        """Return whether a row is still to be done.

        Raises:
            BatchError: If the files tell of another row in its place.
        """
        if row.number > MAX_ROWS:
            raise BatchError(f"the input has more than {MAX_ROWS} lines; split it")
        for file, done in ((self._answers, self._answered), (self._failures, self._failed)):
            if file is not None and row.number < len(done) and done[row.number]:
                if done[row.number] != row.crc32:
                    raise BatchError(self._mismatch(row, file))
                return False
        return True

    def begin(self) -> None:
        """Make the files ready to be written to."""
        for file in self.files():
            file.cut()
        if self._failures is not None and not self.failed:
            self._failures.clear()

    def write_answer(self, row: Row, result: Mapping[str, Any]) -> None:
        """Write the result of a row that was answered.

        Raises:
            OSError: If it cannot be written.
        """
        self._answers.append(self._line(row, result))

    def write_failure(self, row: Row, result: Mapping[str, Any]) -> None:
        """Write the result of a row that failed.

        Raises:
            OSError: If it cannot be written.
        """
        (self._failures or self._open_failures()).append(self._line(row, result))

    def sync(self) -> None:
        """Have the disk keep what is written."""
        for file in self.files():
            file.sync()

    def close(self) -> None:
        """Sync and close the files."""
        try:
            if self._failures is not None:
                self._failures.close()
                if self._failures.is_empty:
                    self._failures_path.unlink(missing_ok=True)
        finally:
            self._answers.close()

    def _open_failures(self) -> ResultFile:
        self._failures = ResultFile(self._failures_path)
        return self._failures

    def _line(self, row: Row, result: Mapping[str, Any]) -> bytes:
        whole = {"row": row.number, "flow": self._flow, **result, "crc32": row.crc32}
        return json_bytes(whole, fallback=str) + b"\n"

    def _load(self, file: ResultFile, done: array[int]) -> int:
        count = 0
        for number, result in file.results():
            if result["flow"] != self._flow:
                raise BatchError(
                    f"{file.path}:{number}: the results are those of flow {result['flow']!r}, not "
                    f"of {self._flow!r}; give another file for the results"
                )
            row = result["row"]
            if row >= len(done):
                done.frombytes(bytes(done.itemsize * (row + 1 - len(done))))
            count += not done[row]
            done[row] = result["crc32"]
        return count

    def _mismatch(self, row: Row, file: ResultFile) -> str:
        text = (
            f"line {row.number} of the input is not the one whose result is in {file.path}: the "
            "input is another, or was changed; give another file for the results"
        )
        return text if file is self._answers else f"{text}, or try the failed rows again"


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
