"""The one timer for all waits of an exchange."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio

from flowcore import Message
from flowcore_openai.alarm import Alarm

from .conftest import MakeLLM, text_and_failure
from .upstream import HANG, Upstream, delta, sse


class CountingLoop:
    """The running loop, which counts the timers that are set."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self.timers: list[asyncio.TimerHandle] = []

    def call_at(self, when: float, callback: Any) -> asyncio.TimerHandle:
        self.timers.append(self._loop.call_at(when, callback))
        return self.timers[-1]


def counted() -> tuple[Alarm, CountingLoop]:
    loop = CountingLoop()
    return Alarm(loop), loop  # type: ignore[arg-type]


async def test_a_wait_that_outlasts_its_deadline_is_cancelled():
    alarm, loop = counted()
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        alarm.watch(scope, loop.time() + 0.02)
        await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_waits_that_end_in_time_share_one_timer():
    alarm, loop = counted()
    for _ in range(100):
        with anyio.CancelScope() as scope:
            alarm.watch(scope, loop.time() + 60)
            await anyio.sleep(0)
        assert not scope.cancel_called
    assert len(loop.timers) == 1
    alarm.stop()
    assert loop.timers[0].cancelled()


async def test_a_deadline_counts_whether_it_is_sooner_or_later_than_the_one_before():
    alarm, loop = counted()
    for first, second in ((60.0, 0.02), (0.02, 0.06), (math.inf, 0.02)):
        alarm.watch(anyio.CancelScope(), loop.time() + first)
        deadline = loop.time() + second
        with anyio.fail_after(5), anyio.CancelScope() as scope:
            alarm.watch(scope, deadline)
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert loop.time() >= deadline


async def test_an_alarm_that_was_stopped_cancels_nothing():
    alarm, loop = counted()
    with anyio.CancelScope() as scope:
        alarm.watch(scope, loop.time() + 0.01)
        alarm.stop()
        await anyio.sleep(0.03)
    assert not scope.cancel_called


async def test_an_answer_leaves_no_timer_behind(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", sse(delta("Hel"), HANG))
    loop: Any = asyncio.get_running_loop()
    await text_and_failure(llm("m", idle_timeout=0.05))
    stream = llm().astream_chat([Message(content="hi")])
    await anext(stream)
    assert alarms(loop)
    await stream.aclose()
    assert not alarms(loop)


def alarms(loop: Any) -> list[Any]:
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]
    return [timer for timer in timers if timer._callback.__qualname__.startswith("Alarm.")]
