"""How far a batch is, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from flowcore.batch.report import BatchReport
from flowcore.logs import LogHandler
from flowcore.terminal import counted

_LINE_SECONDS = 10.0


class Watch(Protocol):
    """What is told how far a batch is."""

    def __call__(self, report: BatchReport) -> None:
        """Show it."""
        ...


@contextmanager
def shown_progress() -> Generator[Watch]:
    """Show the progress of a batch for as long as the block lasts."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[red]{task.fields[failed]}"),
        _Rate(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as progress, _logs_above(console):
        yield _Bar(progress)


def summary(report: BatchReport) -> str:
    """Return what a batch came to, in a line."""
    rows = counted(report.answered + report.failed, "row")
    parts = [f"{rows} in {_duration(report.seconds)}: {report.answered} answered"]
    parts.append(f"{report.failed} failed")
    if report.tokens:
        parts.append(counted(report.tokens, "token"))
    if earlier := report.answered_before + report.failed_before:
        parts.append(f"{earlier} done before")
    if report.left:
        parts.append(f"{report.left} left")
    return ", ".join(parts)


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("rows", total=None, start=True, failed="")
        self._before = -1

    def __call__(self, report: BatchReport) -> None:
        before = report.answered_before + report.failed_before
        if before != self._before:
            # What was done before says nothing about the speed.
            self._before = before
            self._progress.reset(self._task, completed=before)
        failed = report.failed + report.failed_before
        self._progress.update(
            self._task,
            total=report.total,
            completed=report.done,
            failed=f"{failed} failed" if failed else "",
        )


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._due = monotonic() + _LINE_SECONDS

    def __call__(self, report: BatchReport) -> None:
        if monotonic() < self._due:
            return
        self._due = monotonic() + _LINE_SECONDS
        new = report.answered + report.failed
        rate = new / report.seconds if report.seconds else 0.0
        of = "" if report.total is None else f" of {report.total}"
        failed = report.failed + report.failed_before
        line = f"{report.done}{of} rows, {failed} failed, {rate:.1f}/s"
        if report.left and rate:
            line += f", {_duration(report.left / rate)} left"
        self._console.print(line)


class _AboveBar(logging.Handler):
    """Prints records where the bar is not."""

    def __init__(self, console: Console, like: logging.Handler) -> None:
        super().__init__(like.level)
        self.setFormatter(like.formatter)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._console.print(Text(self.format(record)))
        except Exception:  # noqa: BLE001 - as any handler
            self.handleError(record)


@contextmanager
def _logs_above(console: Console) -> Generator[None]:
    root = logging.getLogger()
    own = [handler for handler in root.handlers if isinstance(handler, LogHandler)]
    above = [_AboveBar(console, handler) for handler in own]
    root.handlers[:] = [handler for handler in root.handlers if handler not in own] + above
    try:
        yield
    finally:
        root.handlers[:] = [handler for handler in root.handlers if handler not in above] + own


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"
