"""What user code may raise, which is anything, turned into what a run can end with."""

from __future__ import annotations

import asyncio
from math import inf
from types import TracebackType
from typing import cast

import anyio
from pydantic_core import ValidationError

from flowcore.errors import FlowcoreError, RunFailedError
from flowcore.payload import repair_surrogates

MAX_TEXT_CHARS = 10_000


def failure_of(error: BaseException) -> Exception | None:
    """Return as what a run, or a part of it, fails in which ``error`` was raised.

    All is a failure, also what is no ``Exception``: an op that calls a library which exits or
    panics must not end the server. But for one thing: None stands for the cancellation of the
    caller, which has to raise it again. (Raised here, it would hold itself by its traceback.)
    """
    if isinstance(error, Exception):
        return _wrapped(error)
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(error, KeyboardInterrupt) and cancelled is not asyncio.CancelledError:
        return None  # trio raises it wherever it happens to be; asyncio tells the main task
    rest: BaseException | None = error
    if issubclass(type(error), BaseExceptionGroup):
        _, rest = cast("BaseExceptionGroup[BaseException]", error).split(cancelled)
    elif isinstance(error, cancelled):
        rest = None
    # Awaiting something that others cancelled looks like a cancellation of the caller.
    if rest is None and is_being_cancelled():
        return None
    return _wrapped(error if rest is None else rest)


def is_being_cancelled() -> bool:
    """Whether the code that calls this is in a scope that was cancelled."""
    return anyio.current_effective_deadline() == -inf


def error_text(error: BaseException | None) -> str:
    """Return the text by which a caller learns of an error; never empty, whatever ``str`` does."""
    try:
        text = repair_surrogates(_text(error).strip())
    except BaseException:  # noqa: BLE001 - __str__ is user code too
        text = ""
    if len(text) > MAX_TEXT_CHARS:
        text = f"{text[:MAX_TEXT_CHARS]}…"
    # The text of a lone member of a group names its type already.
    if text and (isinstance(error, FlowcoreError) or _lone_member(error) is not None):
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def user_traceback(error: BaseException) -> TracebackType | None:
    """Return the traceback of an error from the first frame that is not flowcore's."""
    frame = error.__traceback__
    while frame and frame.tb_frame.f_globals.get("__name__", "").startswith("flowcore."):
        frame = frame.tb_next
    return frame or error.__traceback__


def _lone_member(error: BaseException | None) -> BaseException | None:
    if not issubclass(type(error), BaseExceptionGroup):
        return None
    members: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return members[0] if len(members) == 1 else None


def _text(error: BaseException | None) -> str:
    if (member := _lone_member(error)) is not None:
        return error_text(member)
    if isinstance(error, ValidationError):
        # Its own text shows the values, which may be secrets.
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        listed = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults]
        return "; ".join(listed)
    return str(error)


def _wrapped(cause: BaseException) -> Exception:
    # StopAsyncIteration would end the loop of whoever reads the run, as if all were well.
    if isinstance(cause, Exception) and not isinstance(cause, StopAsyncIteration):
        return cause
    failure = RunFailedError(f"an op raised {error_text(cause)}")
    failure.__cause__ = cause
    return failure
