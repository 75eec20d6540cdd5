"""The log of the command: text or JSON, a record a line, to a destination that may fail.

What a record says may come from anywhere: a model, a client, an exception. None of it can end a
line and pose as a record of its own, or steer a terminal.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import IO, Any

from flowcore.errors import ConfigError

logger = logging.getLogger("flowcore")

running: ContextVar[tuple[str, str]] = ContextVar("flowcore_running", default=("", ""))
"""Identifier and flow of the run to which the running code belongs; empty outside of runs."""

FORMATS = ("text", "json")

_MAX_CHARS = 100_000
_PATIENCE = 0.1
"""How long a reader of the log may leave a full pipe alone, in seconds."""

_PIECE_BYTES = 4096
"""What fits into a pipe that is ready for writing (PIPE_BUF on Linux; POSIX: at least 512)."""


def configure(level: str, kind: str) -> None:
    """Let all loggers write to standard error, unless the program has set up logging before.

    Args:
        level: The least level that is written, such as ``INFO``.
        kind: ``text`` or ``json``.

    Raises:
        ConfigError: If there is no such level or kind.
    """
    if level not in logging.getLevelNamesMapping():
        raise ConfigError(f"FLOWCORE_LOG_LEVEL: unknown level {level!r}")
    if kind not in FORMATS:
        raise ConfigError(f"FLOWCORE_LOG_FORMAT: {kind!r} is none of {', '.join(FORMATS)}")
    if logging.getLogger().hasHandlers():
        return
    handler = LogHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if kind == "text" else json_formatter())
    logging.basicConfig(level=level, handlers=[handler])
    # What Python would print by itself holds data as well.
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_thread_failure
    sys.unraisablehook = _log_unraisable


@contextmanager
def only_errors() -> Generator[None]:
    """Hold back what flowcore would warn of, where the same is told in another way."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class TextFormatter(logging.Formatter):
    """One line for each record; the lines of a traceback follow, indented.

    A record that was logged inside a run names the run, and one of several processes its number.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, without a newline at its end."""
        worker = getattr(record, "worker", None)
        who = record.name if worker is None else f"{record.name} [worker {worker}]"
        where = f"{self.formatTime(record)} {record.levelname} {who}: "
        message = record.getMessage()
        run = getattr(record, "run_id", "")
        if run and run not in message:
            flow = getattr(record, "flow", "")
            message = f"{message} (run {run}{f' of flow {flow!r}' if flow else ''})"
        text = where + one_line(message)
        if record.exc_info:
            text += _indented(self.formatException(record.exc_info))
        if record.stack_info:
            text += _indented(self.formatStack(record.stack_info))
        return text


def json_formatter() -> logging.Formatter:
    """Return a formatter that makes each record a JSON object in ASCII, on one line.

    The members are time, level, logger, message and process, then run_id and flow for what was
    logged inside a run, whatever a logger's ``extra`` adds, and exc_info for a traceback.
    """
    from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415 - only where it is asked for

    return JsonFormatter(
        ["time", "levelname", "name", "message", "process"],
        rename_fields={"levelname": "level", "name": "logger"},
        json_ensure_ascii=True,
        timestamp="time",
    )


class LogHandler(logging.Handler):
    """Writes records to a stream; where that fails, the record is lost and the program goes on.

    A pipe that nobody reads is given up after a tenth of a second, until it can be written to
    again. How many records were lost is told as soon as that is possible.

    Args:
        stream: Where to write. Its buffer is passed by, for what a full disk leaves in it would
            fail again with every later write.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        super().__init__()
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._lost = 0
        self._cut = False
        self._stalled = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; nothing that goes wrong leaves this method."""
        run, flow = running.get()
        if run and not hasattr(record, "run_id"):
            record.__dict__.update(run_id=run, flow=flow)
        try:
            if self._lost and self._write(self._text(self._loss())):
                self._lost = 0
            if self._lost or not self._write(self._text(record)):
                self._lost += 1
        except Exception:  # noqa: BLE001 - there is no other place to tell it
            self._lost += 1

    def _text(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # noqa: BLE001 - arguments that do not fit, or cannot be shown
            text = f"a record of {record.pathname}:{record.lineno} cannot be shown: {error!r}"
            return self.format(_record(record.name, record.levelno, text))

    def _loss(self) -> logging.LogRecord:
        text = f"{self._lost} log records were lost: they could not be written"
        return _record("flowcore", logging.WARNING, text)

    def _write(self, text: str) -> bool:
        # The rest of a line that could not be written in full would swallow the next one.
        line = ("\n" if self._cut else "") + text + "\n"
        data = line.encode(self._encoding, "backslashreplace")
        fd = _fd(self._stream)
        try:
            if fd is not None:
                return self._write_pieces(fd, data)
            if self._stream is not None:
                self._stream.write(data.decode(self._encoding))
                self._stream.flush()
        except (OSError, ValueError):  # ValueError: it was closed
            return False
        return True

    def _write_pieces(self, fd: int, data: bytes) -> bool:
        begun = False
        while data:
            if not _is_writable(fd, 0 if self._stalled else _PATIENCE):
                self._stalled = True
                self._cut = self._cut or begun
                return False
            self._stalled = False
            count = os.write(fd, data[:_PIECE_BYTES])
            begun, data = True, data[count:]
            self._cut = bool(data)
        return True


def one_line(text: str) -> str:
    r"""Return a text without line breaks, control characters and what else cannot be printed.

    They are shown as in Python's literals: a newline as ``\n``, an escape as ``\x1b``.
    """
    if len(text) > _MAX_CHARS:
        text = f"{text[:_MAX_CHARS]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_type is not SystemExit:
        name = failure.thread.name if failure.thread is not None else "?"
        about = (failure.exc_type, failure.exc_value, failure.exc_traceback)
        logger.error("thread %r failed", name, exc_info=about)  # pyright: ignore[reportArgumentType]


def _log_unraisable(failure: Any) -> None:
    with suppress(Exception):  # while Python ends, not all of logging is there
        about = (failure.exc_type, failure.exc_value, failure.exc_traceback)
        logger.error("an exception was ignored in %r", failure.object, exc_info=about)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _indented(block: str) -> str:
    if len(block) > _MAX_CHARS:
        block = f"{block[:_MAX_CHARS]}…"
    return "".join(f"\n    {one_line(line)}" for line in block.split("\n"))


def _record(name: str, level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, "%s", (text,), None)


def _fd(stream: IO[str] | None) -> int | None:
    # Python writes to a Windows console by other means than a file descriptor.
    if os.name == "nt":
        return None
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _is_writable(fd: int, seconds: float) -> bool:
    try:
        return bool(select.select([], [fd], [], seconds)[1])
    except ValueError:  # beyond what select can take
        return True
