from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio

from flowcore import (
    BaseAsyncOp,
    BaseOp,
    ChunkEnum,
    FlowApp,
    FlowStreamChunk,
    Op,
    Run,
    RunFailedError,
    RunState,
)
from flowcore.testing import collect

Log = Callable[[], list[str]]


async def emit(op: Any, text: str) -> None:
    await op.context.add_stream_chunk(FlowStreamChunk(chunk=text))


class QuickOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await emit(self, "quick")


class ForeverOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        while True:
            await emit(self, "x" * 10)


# --- whatever ops raise


class OddError(BaseException):
    """What neither Exception nor the event loop knows."""


class FalseError(Exception):
    """What is as good as nothing to an ``if``."""

    def __bool__(self) -> bool:
        return False


ODD_ERRORS = [OddError("odd"), GeneratorExit("odd"), SystemExit("odd"), FalseError("odd")]


@pytest.mark.parametrize("error", ODD_ERRORS, ids=repr)
@pytest.mark.parametrize("parallel", [True, False])
async def test_whatever_an_op_raises_ends_its_own_run_only(
    error: BaseException, parallel: bool
) -> None:
    class OddOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            raise error

    bad = OddOp() | ForeverOp() if parallel else OddOp()
    async with FlowApp({}, flows={"bad": bad, "good": ForeverOp()}) as app:
        with anyio.fail_after(5):
            async with app.stream("good") as good:
                result = await collect(app, "bad")
                assert (await anext(good)).chunk == "x" * 10

    assert result.state is RunState.FAILED
    assert "odd" in str(result.chunks[-1].chunk)


async def test_the_failure_in_an_ops_own_task_group_is_told_in_its_own_words() -> None:
    class GroupOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(self.fail)
                group.start_soon(anyio.sleep_forever)

        async def fail(self) -> None:
            raise ValueError("the disk is on fire")

    async with FlowApp({}, flows={"f": GroupOp()}) as app:
        result = await collect(app, "f")

    assert result.chunks[-1].chunk == "ValueError: the disk is on fire"
    assert isinstance(result.error, ExceptionGroup)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_op_that_awaits_what_others_cancelled_has_failed() -> None:
    class AwaitOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            task = asyncio.get_running_loop().create_future()
            task.cancel()
            await task

    async with FlowApp({}, flows={"f": AwaitOp()}) as app:
        result = await collect(app, "f")
        with pytest.raises(RunFailedError, match="CancelledError"):
            await app.execute("f")

    assert result.state is RunState.FAILED
    assert [chunk.chunk_type for chunk in result.chunks] == [ChunkEnum.ERROR]


async def test_a_fault_in_what_is_called_at_the_end_of_a_run_is_logged_and_takes_no_other_along(
    log: Log,
) -> None:
    def fail(run: Run) -> None:
        raise LookupError(f"after {run.state}")

    told: list[RunState] = []
    async with FlowApp({}, flows={"short": QuickOp(), "long": ForeverOp()}) as app:
        with anyio.fail_after(5):
            async with app.stream("long") as chunks:
                run = app.start("short", {})
                run.add_done_callback(fail)
                run.add_done_callback(lambda run: told.append(run.state))
                await run.wait()
                await anyio.wait_all_tasks_blocked()
                assert (await anext(chunks)).chunk == "x" * 10

    assert run.state is RunState.DONE
    assert told == [RunState.DONE]
    assert f"run {run.id}: what was to be called at its end failed" in "\n".join(log())


async def test_an_answer_that_cannot_even_be_looked_at_ends_the_run_as_failed() -> None:
    class OddDict(dict[str, int]):
        def items(self) -> Any:
            raise LookupError("no luck")

    class AnswerOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.metadata["odd"] = OddDict({"half a character: \ud800": 1})

    with anyio.fail_after(5):
        async with FlowApp({}, flows={"f": AnswerOp()}) as app:
            result = await collect(app, "f")

    assert (result.state, repr(result.error)) == (RunState.FAILED, "LookupError('no luck')")


# --- whatever ops make of their cancellation


async def test_an_op_that_swallows_its_cancellation_ends_its_run_all_the_same() -> None:
    class DeafOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            try:
                await anyio.sleep_forever()
            except BaseException:
                self.context.response.answer = "what cancellation?"

    async with FlowApp({}, flows={"f": DeafOp()}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                await anyio.wait_all_tasks_blocked()
            assert chunks.run.state is not RunState.RUNNING
            assert app.runs == {}


async def test_a_cleanup_that_raises_disturbs_nobody_else() -> None:
    class ClumsyOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("in cleanup")

    async with FlowApp({}, flows={"bad": ClumsyOp(), "good": QuickOp()}) as app:
        with anyio.fail_after(5):
            async with app.stream("bad"):
                await anyio.wait_all_tasks_blocked()
            assert (await app.execute("good")).answer == "quick"
            assert app.runs == {}


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_nursery_that_fails_in_its_cleanup_disturbs_nobody_else() -> None:
    class NurseryOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.child)
                await trio.sleep_forever()

        async def child(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("in cleanup")

    async with FlowApp({}, flows={"bad": NurseryOp(), "good": ForeverOp()}) as app:
        with anyio.fail_after(5):
            async with app.stream("good") as good:
                async with app.stream("bad"):
                    await anyio.wait_all_tasks_blocked()
                assert (await anext(good)).chunk == "x" * 10
                assert good.run.state is RunState.RUNNING


@pytest.mark.parametrize("how", ["returns", "raises"])
async def test_a_run_that_was_stopped_is_not_done_whatever_its_op_makes_of_that(how: str) -> None:
    class StubbornOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await emit(self, "half of the ans")
            try:
                await anyio.sleep_forever()
            except BaseException:
                if how == "raises":
                    raise ValueError("something else") from None

    config = {"deadlines": {"total": 0.1}}
    with anyio.fail_after(10):
        async with FlowApp(config, flows={"f": StubbornOp()}) as app:
            late = await collect(app, "f")
            run = app.start("f", {})
            await run.receive()
            run.cancel("api")
            await run.wait()

    assert late.chunks[-1].metadata["code"] == "total_timeout"
    assert (run.state, run.receive_ready()[-1].metadata["reason"]) == (RunState.CANCELLED, "api")


# --- ops that ignore their cancellation


async def be_deaf(op: Any) -> None:
    """Do not care about a cancellation until told to go."""
    go: anyio.Event = op.context["go"]
    while not go.is_set():
        op.context.is_deaf = True
        try:
            await go.wait()
        except BaseException:
            op.context["ignored"].append(time.monotonic())


class DeafOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await be_deaf(self)
        await emit(self, "late")


class DeafSyncOp(BaseOp):
    def execute(self) -> None:
        self.run_async(be_deaf, self)


class HostOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await self.ops["deaf_op"].async_call()
        self.context["went_on"].append("host")


class SilentOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await anyio.sleep_forever()


class FailSoonOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError("no luck")


class NextOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        self.context["went_on"].append("next")


async def test_an_op_that_ignores_its_cancellation_is_abandoned(log: Log) -> None:
    config = {"deadlines": {"cleanup": 0.2}}
    go, ignored = anyio.Event(), []
    with anyio.fail_after(10):
        async with FlowApp(config, flows={"f": QuickOp() >> DeafOp()}) as app:
            try:
                async with app.stream("f", go=go, ignored=ignored) as chunks:
                    assert (await anext(chunks)).chunk == "quick"
                    run = chunks.run

                assert run.state is RunState.CANCELLED
                assert run.abandoned
                assert not app.runs
                assert app.abandoned_runs == 1
                assert any("ERROR" in line and "'deaf_op' ignores" in line for line in log())
                # The event loop is at rest: nothing delivers the cancellation any more.
                await anyio.wait_all_tasks_blocked()
                count = len(ignored)
                await anyio.sleep(0.1)
                assert len(ignored) == count
            finally:
                go.set()  # or the app would wait for the op


async def test_what_an_abandoned_op_emits_later_is_dropped(log: Log) -> None:
    config = {"deadlines": {"cleanup": 0.1}}
    go = anyio.Event()
    with anyio.fail_after(10):
        async with FlowApp(config, flows={"f": DeafOp()}) as app:
            async with app.stream("f", go=go, ignored=[]) as chunks:
                while "is_deaf" not in chunks.run.data:
                    await anyio.sleep(0.01)
            go.set()
        assert chunks.run.chunks <= 1
        assert any("dropped what op 'deaf_op' emitted" in line for line in log())


async def test_a_run_whose_time_is_over_ends_also_where_its_op_does_not_care() -> None:
    config = {"deadlines": {"total": 0.1, "cleanup": 0.1}}
    go = anyio.Event()
    with anyio.fail_after(10):
        async with FlowApp(config, flows={"f": DeafOp()}) as app:
            result = await collect(app, "f", go=go, ignored=[])
            go.set()

    assert [chunk.metadata["code"] for chunk in result.chunks] == ["total_timeout"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: DeafOp() >> NextOp(),
        lambda: (DeafOp() | SilentOp()) >> NextOp(),
        lambda: (HostOp() << DeafOp()) >> NextOp(),
        lambda: DeafSyncOp() >> NextOp(),
    ],
    ids=["alone", "parallel", "sub-op", "sync"],
)
async def test_an_abandoned_op_costs_nothing_and_nothing_comes_after_it(
    make: Callable[[], Op],
) -> None:
    go, ignored, went_on = anyio.Event(), list[float](), list[str]()
    with anyio.fail_after(10):
        async with FlowApp({"deadlines": {"cleanup": 0.1}}, flows={"f": make()}) as app:
            try:
                run = app.start("f", {"go": go, "ignored": ignored, "went_on": went_on})
                while "is_deaf" not in run.data:
                    await anyio.sleep(0.01)
                run.cancel()
                await run.wait()
                assert run.abandoned
                count = len(ignored)
                await anyio.sleep(0.1)
                assert len(ignored) <= count + 1
            finally:
                go.set()

    assert went_on == []


async def test_a_failed_branch_does_not_wait_for_ever_for_one_that_ignores_its_end() -> None:
    go, ignored = anyio.Event(), list[float]()
    flow = DeafOp() | FailSoonOp()
    with anyio.fail_after(10):
        async with FlowApp({"deadlines": {"cleanup": 0.1}}, flows={"f": flow}) as app:
            try:
                run = app.start("f", {"go": go, "ignored": ignored})
                await run.wait()
                count = len(ignored)
                await anyio.sleep(0.1)
                assert len(ignored) <= count + 1
            finally:
                go.set()

    assert (run.state, str(run.error), run.abandoned) == (RunState.FAILED, "no luck", True)


async def test_closing_names_the_op_that_it_waits_for(log: Log) -> None:
    config = {"deadlines": {"cleanup": 0.1}}
    go = anyio.Event()
    app = FlowApp(config, flows={"f": DeafOp()})
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            async with app:
                run = app.start("f", {"go": go, "ignored": []})
                await anyio.wait_all_tasks_blocked()
                run.cancel()
                await run.wait()

                async def release() -> None:
                    while not any("waiting for op 'deaf_op'" in line for line in log()):
                        await anyio.sleep(0.01)
                    go.set()

                group.start_soon(release)

    assert app.abandoned_runs == 1
