"""The watchdog of the event loop: it tells of code that blocks, while it blocks."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from flowcore_http import HttpSettings, create_app
from flowcore_http.watchdog import Watchdog

from .observed import observed


@asynccontextmanager
async def watching(watchdog: Watchdog) -> AsyncGenerator[None]:
    watchdog.start()
    try:
        yield
    finally:
        watchdog.stop()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "watchdog"]


async def gone() -> None:
    """Wait until no watchdog is left."""
    with anyio.fail_after(5):
        while threads():
            await anyio.sleep(0.01)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    """Return a function that lists what the watchdog has logged so far."""
    name = "flowcore.http.watchdog"
    caplog.set_level(logging.INFO, logger=name)
    return lambda: [record for record in caplog.records if record.name == name]


def block_the_loop(seconds: float) -> None:
    time.sleep(seconds)


def of_ours(records: list[logging.LogRecord]) -> list[logging.LogRecord]:
    """Leave out what a busy machine may cause: stalls of the loop where nothing blocks it."""
    ours: list[logging.LogRecord] = []
    stall = False
    for record in records:
        if "has been blocked" in record.getMessage():
            stall = "block_the_loop(" in (record.stack_info or "")
        if stall:
            ours.append(record)
    return ours


async def test_a_stall_is_told_of_while_it_lasts_with_its_stack_and_again_when_it_is_over(warnings):
    stalls: list[int] = []
    async with watching(Watchdog(0.1, stalled=lambda: stalls.append(len(of_ours(warnings()))))):
        await asyncio.sleep(0.1)
        block_the_loop(0.6)
        during = of_ours(warnings())
        await asyncio.sleep(0.2)

    assert len(during) == 1
    assert during[0].levelno == logging.WARNING
    assert during[0].getMessage().startswith("the event loop has been blocked for 0.")
    assert "block_the_loop(0.6)" in (during[0].stack_info or "")
    (after,) = of_ours(warnings())[1:]
    told = re.fullmatch(r"the event loop goes on; it was blocked for (\S+) s", after.getMessage())
    assert told is not None
    assert 0.5 < float(told[1]) < 3
    # Told before it is logged.
    assert stalls[0] == 0
    assert len(stalls) == sum("has been blocked" in each.getMessage() for each in warnings())


async def test_each_stall_is_told_of_once(warnings):
    async with watching(Watchdog(0.05)):
        for _ in range(2):
            await asyncio.sleep(0.1)
            block_the_loop(0.3)
        await asyncio.sleep(0.1)

    ended = ["goes on" in record.getMessage() for record in of_ours(warnings())]
    assert ended == [False, True] * 2


async def test_a_loop_that_only_waits_or_works_in_small_steps_is_not_told_of(warnings):
    async with watching(Watchdog(1.0)):
        for _ in range(60):
            block_the_loop(0.02)
            await asyncio.sleep(0.02)

    assert warnings() == []


async def test_the_lateness_of_the_loop_is_measured():
    lags: list[float] = []
    async with watching(Watchdog(10, ticked=lags.append)):
        await asyncio.sleep(0.3)
        block_the_loop(0.5)
        await asyncio.sleep(0.1)

    assert len(lags) >= 2
    assert min(lags) < 0.1
    assert 0.2 < max(lags) < 3


async def test_nothing_is_left_running(make_app):
    async with watching(Watchdog(0.1)):
        assert len(threads()) == 1
    await gone()

    quart = create_app(make_app({}), HttpSettings())
    await quart.startup()
    assert len(threads()) == 1
    await quart.shutdown()
    await gone()


async def test_it_can_be_turned_off(make_app):
    quart = create_app(make_app({}), HttpSettings(stall_warning=None))
    await quart.startup()
    assert threads() == []
    await quart.shutdown()


def test_a_loop_that_ends_without_a_word_ends_its_watchdog():
    async def run() -> None:
        Watchdog(0.1).start()
        await asyncio.sleep(0)

    asyncio.run(run())

    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == []


async def test_it_costs_next_to_nothing():
    async with watching(Watchdog(1.0)):
        began = time.process_time()
        await asyncio.sleep(2)
        used = time.process_time() - began

    assert used / 2 < 0.01  # of one core


async def test_an_op_that_blocks_is_named_while_it_blocks(tmp_path: Path):
    async with (
        observed(tmp_path, "http.stall_warning=0.3", FLOWCORE_LOG_FORMAT="json") as service,
        httpx.AsyncClient(base_url=service.url, timeout=20) as client,
    ):
        response = await client.post("/block", json={"seconds": 1.5})
        began = await service.record(lambda record: "by op 'block_op'" in record["message"])
        ended = await service.record(lambda record: blocked_seconds(record) > 1)
        metrics = (await client.get("/metrics")).text
        code = await service.exit_code()

    run_id = response.headers["X-Run-Id"]
    assert f" by op 'block_op' of run {run_id} of flow 'block'" in began["message"]
    assert (began["run_id"], began["flow"]) == (run_id, "block")
    assert "time.sleep" in began["stack_info"]
    assert seconds(ended) - seconds(began) > 0.5
    # Others there may be on a busy machine.
    stalls = [record for record in service.records if "has been blocked" in record["message"]]
    assert f"flowcore_event_loop_stalls_total {len(stalls)}.0" in metrics
    assert 'flowcore_event_loop_lag_seconds_bucket{le="1.0"}' in metrics
    assert code == 0


def blocked_seconds(record: dict[str, Any]) -> float:
    told = re.fullmatch(r".*goes on; it was blocked for (\S+) s", record["message"])
    return float(told[1]) if told else 0.0


def seconds(record: dict[str, Any]) -> float:
    hours, minutes, rest = record["time"].partition("T")[2].removesuffix("+00:00").split(":")
    return float(hours) * 3600 + float(minutes) * 60 + float(rest)


async def test_in_text_the_stack_cannot_pose_as_a_record(tmp_path: Path):
    async with (
        observed(tmp_path, "http.stall_warning=0.2") as service,
        httpx.AsyncClient(base_url=service.url, timeout=20) as client,
    ):
        await client.post("/block", json={"seconds": 0.8})
        await service.logged("goes on")

    stack = service.log.partition("has been blocked")[2].partition("goes on")[0]
    lines = stack.split("\n")
    assert len(lines) > 5
    assert all(line.startswith("    ") for line in lines[1:-1])
