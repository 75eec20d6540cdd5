from __future__ import annotations

import asyncio
import threading

import anyio
import anyio.lowlevel
import pytest

from flowcore import BaseOp, FlowApp, Op, RunFailedError, RunState
from flowcore.testing import collect
from flowcore.worker import run_in_worker


class PanicError(BaseException):
    """What extensions in other languages raise: no Exception, and unknown to the event loop."""


ODD = [
    PanicError("odd"),
    GeneratorExit("odd"),
    SystemExit("odd"),
    KeyboardInterrupt("odd"),
    BaseExceptionGroup("odd", [SystemExit(3), ValueError("x")]),
]


class RaiseOp(BaseOp):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def execute(self) -> None:
        raise self.error


class CalmOp(BaseOp):
    def execute(self) -> None:
        self.context.response.answer = "calm"


class CallOp(BaseOp):
    def execute(self) -> None:
        self.ops.sub.call()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("error", ODD, ids=repr)
@pytest.mark.parametrize("place", ["alone", "branch", "sub-op"])
async def test_no_exception_of_a_sync_op_ends_more_than_its_run(
    error: BaseException, place: str
) -> None:
    raiser = RaiseOp(error)
    flows: dict[str, Op] = {
        "alone": raiser,
        "branch": raiser | CalmOp(),
        "sub-op": CallOp() << {"sub": raiser},
    }

    async with FlowApp({}, flows={"bad": flows[place], "good": CalmOp()}) as app:
        with anyio.fail_after(5):
            result = await collect(app, "bad")
            assert (await app.execute("good")).answer == "calm"

    assert result.state is RunState.FAILED
    assert str(result.chunks[-1].chunk).startswith("an op raised ")
    assert isinstance(result.error, RunFailedError)


@pytest.mark.parametrize("error", ODD, ids=repr)
async def test_what_is_no_exception_stays_the_cause_and_gives_its_place_back(
    error: BaseException,
) -> None:
    def work() -> None:
        raise error

    limiter = anyio.CapacityLimiter(1)
    for _ in range(3):
        with anyio.fail_after(5), pytest.raises(RunFailedError) as caught:
            await run_in_worker(work, limiter)
        assert caught.value.__cause__ is error

    assert limiter.borrowed_tokens == 0


async def test_an_exception_passes_the_thread_as_it_is() -> None:
    error = ValueError("x")

    def work() -> None:
        raise error

    with pytest.raises(ValueError, match="x") as caught:
        await run_in_worker(work, anyio.CapacityLimiter(1))

    assert caught.value is error


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_foreign_cancellation_raised_in_a_thread_is_a_failure() -> None:
    async with FlowApp({}, flows={"f": RaiseOp(asyncio.CancelledError()) | CalmOp()}) as app:
        with anyio.fail_after(5):
            result = await collect(app, "f")

    assert result.state is RunState.FAILED


def test_a_thread_that_outlives_its_event_loop_ends_all_the_same() -> None:
    started, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go_on.wait(5)
        threading.current_thread().name = "outlived"
        ended.set()

    async def leave() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_in_worker, work, anyio.CapacityLimiter(1))
            while not started.is_set():
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()

    loop = asyncio.new_event_loop()
    # Not asyncio.run: the loop is stopped and not closed, so that calls into it are queued only.
    loop.run_until_complete(leave())
    before = set(threading.enumerate())
    go_on.set()

    assert ended.wait(5)
    for thread in before:
        if thread.name == "outlived":
            thread.join(5)
            assert not thread.is_alive()
    loop.close()


class WaitOp(BaseOp):
    def execute(self) -> None:
        self.run_async(self.wait)

    async def wait(self) -> None:
        journal: list[str] = self.context["journal"]
        try:
            self.context["waits"].set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            journal.append("cleaned up")


async def test_a_cancelled_run_ends_after_the_cleanup_of_what_its_sync_ops_await() -> None:
    journal: list[str] = []
    waits = anyio.Event()

    async with FlowApp({}, flows={"wait": WaitOp()}) as app:
        with anyio.fail_after(5):
            run = app.start("wait", {"journal": journal, "waits": waits})
            run.add_done_callback(lambda run: journal.append("ended"))
            await waits.wait()
            run.cancel()
            await run.wait()

    assert journal == ["cleaned up", "ended"]
