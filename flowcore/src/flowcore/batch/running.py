"""The batch: rows are read as they are wanted, run side by side, and written as they are done."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

import anyio
from anyio.to_thread import run_sync

from flowcore.app import FlowApp
from flowcore.batch.journal import Journal
from flowcore.batch.report import BatchReport
from flowcore.batch.rows import InvalidRowError, Row, RowReader
from flowcore.batch.runners import Outcome, Runner, run_patiently, runner_for
from flowcore.errors import BatchError
from flowcore.service import FlowClient

CONCURRENCY = 8
_SYNC_SECONDS = 2.0


async def run_batch(
    where: FlowApp | FlowClient,
    flow: str,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    failures: str | os.PathLike[str] | None = None,
    concurrency: int = CONCURRENCY,
    retry_failed: bool = False,
    limit: int | None = None,
    max_failed: int | None = None,
    with_inputs: bool = False,
    watch: Callable[[BatchReport], object] | None = None,
) -> BatchReport:
    """Run a flow once for each row of a file, and go on where an earlier start has stopped.

    Each line of ``source`` is a JSON object, the inputs of a run. Each row gets one line in
    ``target`` if it was answered, and else one in ``failures``, written when it is done.

    Args:
        where: An open app, or a client of a server.
        flow: Name of the flow.
        source: JSONL file of the rows; ``"-"`` is standard input.
        target: JSONL file of the answers; what it holds already is not done again.
        failures: JSONL file of the failures; by default ``NAME.failed.jsonl`` beside
            ``NAME.jsonl``.
        concurrency: How many rows may run at the same time; an app never runs more than its
            ``max_concurrent_runs``.
        retry_failed: Whether rows that have failed in earlier starts are tried again.
        limit: How many rows to run at most, in this start.
        max_failed: After how many failures, in this start, no further row is begun.
        with_inputs: Whether results repeat the inputs of their row.
        watch: Called with the report at the beginning and whenever a row is done; the report is
            the same object every time.

    Returns:
        The report.

    Raises:
        BatchError: If a file cannot be used, or holds the results of another input or flow.
        UnknownNameError: If there is no such flow.
        OSError: If a file cannot be read or written any more.

    Example:
        ``report = await run_batch(app, "summarise", "in.jsonl", "out.jsonl")``
    """
    runner = await runner_for(where, flow)
    if isinstance(where, FlowApp):
        concurrency = min(concurrency, where.config.max_concurrent_runs)
    answers = Path(target)
    failed = Path(failures) if failures else answers.with_suffix(f".failed{answers.suffix}")
    report = BatchReport(failures=failed)
    with _opened(source) as stream, _opened_journal(flow, answers, failed) as journal:
        _check_distinct(stream, journal)
        batch = _Batch(runner, stream, str(source), journal, report, watch or (lambda _: None))
        batch.limit = limit
        batch.max_failed = max_failed
        batch.with_inputs = with_inputs
        await batch.prepare(retry_failed=retry_failed)
        await batch.run(concurrency)
    return report


class _Batch:
    limit: int | None = None
    max_failed: int | None = None
    with_inputs = False

    def __init__(
        self,
        runner: Runner,
        stream: BinaryIO,
        name: str,
        journal: Journal,
        report: BatchReport,
        watch: Callable[[BatchReport], object],
    ) -> None:
        self._runner = runner
        self._stream = stream
        self._name = name
        self._reader = RowReader(stream, name)
        self._journal = journal
        self._report = report
        self._watch = watch
        self._ready: deque[Row] = deque()
        self._turn = anyio.Lock()
        self._started = 0
        self._seen = 0
        self._began = monotonic()
        self._fault: Exception | None = None

    async def prepare(self, *, retry_failed: bool) -> None:
        """Read what is done; nothing is changed unless all of it fits the input."""
        journal, report = self._journal, self._report
        await run_sync(journal.load, abandon_on_cancel=True)
        if retry_failed:
            journal.forget_failures()
        if self._stream.seekable():
            await self._survey()
        journal.begin()
        report.answered_before, report.failed_before = journal.answered, journal.failed

    async def _survey(self) -> None:
        """Count the rows and compare them with the results; then begin again."""
        beginning = self._stream.tell()
        total = 0
        while (rows := await run_sync(self._reader.read, abandon_on_cancel=True)) is not None:
            total += len(rows)
            for row in rows:
                self._journal.wants(row)
        self._stream.seek(beginning)
        self._reader = RowReader(self._stream, self._name)
        self._report.total = total

    async def run(self, concurrency: int) -> None:
        """Run all rows that are left."""
        self._tell()
        async with anyio.create_task_group() as group:
            group.start_soon(self._guard, self._sync, group.cancel_scope)
            async with anyio.create_task_group() as workers:
                for _ in range(concurrency):
                    workers.start_soon(self._guard, self._work, group.cancel_scope)
            group.cancel_scope.cancel()
        if self._fault is not None:
            raise self._fault
        self._tell()

    async def _guard(
        self, function: Callable[[], Awaitable[None]], scope: anyio.CancelScope
    ) -> None:
        """Stop all where one fails; a task group would wrap what it raises."""
        try:
            await function()
        except Exception as error:  # noqa: BLE001 - it is raised at the end
            self._fault = self._fault or error
            scope.cancel()

    async def _sync(self) -> None:
        while True:
            await anyio.sleep(_SYNC_SECONDS)
            await run_sync(self._journal.sync)

    async def _work(self) -> None:
        while (row := await self._next()) is not None:
            began = monotonic()
            try:
                inputs = row.inputs()
            except InvalidRowError as error:
                inputs = None
                outcome = Outcome()
                outcome.fail(code="invalid_row", message=str(error))
            else:
                outcome = await run_patiently(self._runner, inputs)
            self._finish(row, inputs, outcome, monotonic() - began)

    async def _next(self) -> Row | None:
        """Wait for the next row that is to be done; None if there is none."""
        async with self._turn:
            if self.limit is not None and self._started >= self.limit:
                return None
            if self.max_failed is not None and self._report.failed >= self.max_failed:
                return None
            while not self._ready:
                rows = await run_sync(self._reader.read, abandon_on_cancel=True)
                if rows is None:
                    self._report.total = self._seen
                    return None
                self._seen += len(rows)
                self._ready.extend(row for row in rows if self._journal.wants(row))
            self._started += 1
            return self._ready.popleft()

    def _finish(
        self, row: Row, inputs: dict[str, Any] | None, outcome: Outcome, seconds: float
    ) -> None:
        # Nothing in here waits: a row is written, or it was cancelled.
        report = self._report
        result: dict[str, Any] = {}
        if outcome.flow_id:
            result["flow_id"] = outcome.flow_id
        if self.with_inputs and inputs is not None:
            result["inputs"] = inputs
        response = outcome.response
        if response is not None:
            if not outcome.usage:
                outcome.add_usage(response.metadata.get("usage"))
            if not response.success:
                outcome.fail(code="unsuccessful", message="the answer has success: false")
        if outcome.error is not None:
            result["error"] = outcome.error
        if response is not None:
            result |= {"answer": response.answer, "metadata": response.metadata}
        result |= {"usage": outcome.usage, "seconds": round(seconds, 3)}
        if outcome.error is None:
            self._journal.write_answer(row, result)
            report.answered += 1
        else:
            self._journal.write_failure(row, result)
            report.failed += 1
        for name, amount in outcome.usage.items():
            report.usage[name] = report.usage.get(name, 0) + amount
        self._tell()

    def _tell(self) -> None:
        self._report.seconds = monotonic() - self._began
        self._watch(self._report)


@contextmanager
def _opened(source: str | os.PathLike[str]) -> Generator[BinaryIO]:
    if source == "-" and sys.stdin is None:
        raise BatchError("there is no standard input")
    place = sys.stdin.fileno() if source == "-" else source
    try:
        # Without a buffer: a thread that waits for the next block holds no lock.
        stream = open(place, "rb", buffering=0, closefd=source != "-")  # noqa: SIM115
    except OSError as error:
        raise BatchError(f"cannot read {source}: {error.strerror}") from None
    with stream:
        yield stream


@contextmanager
def _opened_journal(flow: str, answers: Path, failures: Path) -> Generator[Journal]:
    if answers.resolve() == failures.resolve():
        raise BatchError("answers and failures must be different files")
    try:
        journal = Journal(flow, answers, failures)
    except OSError as error:
        raise BatchError(f"cannot write {error.filename}: {error.strerror}") from None
    try:
        yield journal
    finally:
        journal.close()


def _check_distinct(stream: BinaryIO, journal: Journal) -> None:
    status = [os.fstat(stream.fileno()), *(file.status for file in journal.files())]
    if len({(each.st_dev, each.st_ino) for each in status}) < len(status):
        raise BatchError("the input and the results must be different files")
