"""Letting go of what a failed run held."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable
from types import TracebackType

from flowcore_http.frames import let_go_of_frames


def variables(error: BaseException) -> dict[str, object]:
    """Return the variables of all frames but the caller's through which an error has come."""
    found: dict[str, object] = {}
    part: TracebackType | None = error.__traceback__
    while part is not None:
        if part.tb_frame is not sys._getframe(1):
            found |= part.tb_frame.f_locals
        part = part.tb_next
    return found


def caught(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError


def fail() -> None:
    inputs = "large"
    raise ValueError(inputs)


def fail_for_a_reason() -> None:
    error = caught(fail)
    raise LookupError from error


def fail_for_several() -> None:
    errors = [caught(fail), caught(fail_for_a_reason)]
    raise ExceptionGroup("several", errors)


def test_variables_are_cleared_and_tracebacks_stay_of_all_that_led_to_an_error():
    group = caught(fail_for_several)
    assert isinstance(group, ExceptionGroup)
    first, second = group.exceptions
    assert second.__cause__ is not None
    every = [group, first, second, second.__cause__]
    assert all(map(variables, every))

    let_go_of_frames(group)

    assert not any(map(variables, every))
    assert all(each.__traceback__ for each in every)


def test_an_error_that_led_to_itself_is_no_obstacle():
    first, second = caught(fail), caught(fail)
    first.__context__, second.__cause__ = second, first

    let_go_of_frames(first)

    assert not variables(second)


async def test_who_has_caught_an_error_and_waits_goes_on_with_it_and_all_that_it_has():
    errors: list[BaseException] = []
    may_go_on = asyncio.Event()

    async def fail_here() -> None:
        raise ValueError

    async def go_on() -> tuple[str, str]:
        kept = "still here"
        try:
            await fail_here()
        except ValueError as error:
            errors.append(error)
            await may_go_on.wait()
            return kept, traceback.format_exc()
        raise AssertionError

    task = asyncio.create_task(go_on())
    while not errors:
        await asyncio.sleep(0)

    let_go_of_frames(errors[0])

    may_go_on.set()
    kept, shown = await task
    assert kept == "still here"
    assert "in fail_here" in shown
