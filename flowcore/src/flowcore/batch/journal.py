"""What a batch has done so far: the two files of its results, which are also its memory.

A line is written at once when its row is done, so that whoever kills the process loses nothing that
is done; what they may leave is a line without its end, which the next start cuts off. Once in two
seconds the files are synced, so that a loss of power costs no more than those.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowcore.batch.result_file import MAX_ROWS, ResultFile
from flowcore.batch.rows import Row
from flowcore.errors import BatchError
from flowcore.payload import json_bytes


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
