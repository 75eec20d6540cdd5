"""A client that leaves at any moment leaves nothing behind, down to the model's connections.

Client, server and upstream share one event loop. The request is sent again and again; the client
leaves one step of the loop later each time, or after one byte more, until the answer is whole.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
from collections.abc import Callable, Generator
from functools import partial

import pytest

from flowcore import FlowApp, RunFailedError, RunState
from tests.faults.house import (
    FLOWS,
    Client,
    House,
    Leave,
    close,
    half_close,
    open_house,
    request,
    reset,
)
from tests.faults.stepping import Stepper, attempt, run

LEAVES = (close, reset, half_close)


def texts(received: bytes) -> list[bytes]:
    return re.findall(rb'"(?:chunk|answer)":"([^"]*)"', received)


@pytest.fixture(autouse=True)
def _no_error_is_logged(caplog: pytest.LogCaptureFixture) -> Generator[None]:
    yield
    gc.collect()
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert [error for error in errors if not error.endswith("): stopped")] == []


def sweep(visitor: Callable[[House, Stepper, int], Client]) -> None:
    """Let a client leave later and later, until it does not leave."""

    async def main(stepper: Stepper) -> None:
        async with open_house() as house:
            # The first request opens what then stays open.
            await visit(Client(house.port, request("stream"), close), house)
            house.tasks = house.spare_tasks()
            number = 0
            while True:
                with attempt(number):
                    client = visitor(house, stepper, number)
                    await visit(client, house)
                    stepper.disarm()
                    assert b"upstream_busy" not in client.received
                if not client.left:
                    break
                number += 1
            assert b"".join(texts(client.received)) == b"One two."
            assert number > 30
            assert house.watcher.events[RunState.FAILED] == 0

    run("asyncio", main)


async def visit(client: Client, house: House) -> None:
    async with asyncio.timeout(5):
        await client.ended.wait()
        if not client.left:
            client.close()
        await house.settle()
        client.close()


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("flow", FLOWS)
def test_a_client_may_leave_at_every_step(flow: str, leave: Leave):
    def visitor(house: House, stepper: Stepper, number: int) -> Client:
        client = Client(house.port, request(flow), leave)
        stepper.arm(number, client.leave)
        return client

    sweep(visitor)


def test_a_client_may_leave_after_every_byte_of_the_answer():
    def visitor(house: House, stepper: Stepper, number: int) -> Client:
        leave = LEAVES[number % len(LEAVES)]
        return Client(house.port, request("stream"), leave, number + 1)

    sweep(visitor)


def test_a_client_may_leave_after_every_byte_of_its_request():
    def visitor(house: House, stepper: Stepper, number: int) -> Client:
        whole = request("stream")
        leave = LEAVES[number % len(LEAVES)]
        client = Client(house.port, whole[:number], leave)
        if number < len(whole):
            stepper.arm(5, client.leave)
        return client

    sweep(visitor)


@pytest.mark.parametrize("code", ["cancelled", "shutting_down"])
def test_a_client_that_reads_on_is_told_of_a_run_that_was_stopped_at_any_step(code: str):
    async def main(stepper: Stepper) -> None:
        async with open_house() as house:
            await visit(Client(house.port, request("stream"), close), house)
            house.tasks = house.spare_tasks()
            number = told = 0
            stopped = True
            while stopped:
                with attempt(number):
                    client = Client(house.port, request("stream"), close)
                    stepper.arm(number, partial(stop_all, house.app, code))
                    await visit(client, house)
                    stopped = stepper.acted
                    stepper.disarm()
                    told += tells_of(client.received, code)
                number += 1
            assert told > 10

    run("asyncio", main)


def stop_all(app: FlowApp, code: str) -> None:
    for one in tuple(app.runs.values()):
        if code == "cancelled":
            one.cancel("api")
        else:
            one.fail(RunFailedError("stopped", {"code": code}))


def tells_of(answer: bytes, code: str) -> bool:
    """Check a whole stream; return whether its run was stopped."""
    *chunks, end = re.findall(rb"(?m)^data:(.*)$", answer)
    assert answer.endswith(b"\r\n0\r\n\r\n")
    assert end == b"[DONE]"
    failures = [json.loads(chunk) for chunk in chunks if b'"error"' in chunk]
    if not failures:
        assert b"".join(texts(answer)) == b"One two."
        return False
    assert failures == [json.loads(chunks[-1])]
    assert failures[0]["metadata"]["code"] == code
    return True
