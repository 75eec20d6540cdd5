"""Letting go of what a failed run held: its exception holds the frames of all that it ran."""

from __future__ import annotations

import gc
from types import FrameType, TracebackType
from typing import cast


def let_go_of_frames(error: BaseException) -> None:
    """Have an error, and those that led to it, no longer hold what it has come through.

    Its frames, and their callers, hold the run and its inputs, and these hold it: a cycle that only
    the garbage collector would find. The variables of frames that have ended are cleared; frames
    that have not, and tracebacks, stay as they are, for whoever handles or shows the error later.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        _clear(each.__traceback__)
        pending += (each.__cause__, each.__context__)
        if isinstance(each, BaseExceptionGroup):
            pending += cast("BaseExceptionGroup[BaseException]", each).exceptions


def _clear(traceback: TracebackType | None) -> None:
    known: set[FrameType] = set()
    while traceback is not None:
        frame: FrameType | None = traceback.tb_frame
        while frame is not None and frame not in known and _has_ended(frame):
            known.add(frame)
            frame.clear()
            frame = frame.f_back
        traceback = traceback.tb_next


def _has_ended(frame: FrameType) -> bool:
    # Who has caught the error may go on. As long as it does, its variables are not the frame's, and
    # before Python 3.13, to clear the frame of a coroutine that waits is to close the coroutine.
    return any(each is frame.f_code for each in gc.get_referents(frame))
