"""The trace of a run: when its ops start and end, in order with its chunks."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from flowcore import (
    BaseAsyncOp,
    BaseOp,
    FlowApp,
    FlowStreamChunk,
    Op,
    OpEvent,
    RunFailedError,
    RunState,
    SequentialOp,
    read_response,
)
from flowcore.op_tree import places
from flowcore.terminal import OpTimes


class SayOp(BaseAsyncOp):
    text: str = "hi"
    times: int = 1

    async def async_execute(self) -> None:
        for _ in range(self.times):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=self.text))


class BlockOp(BaseOp):
    def execute(self) -> None:
        self.run_async(self.ops["say_op"].async_call)


class AgentOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        for op in self.ops.values():
            await op.async_call()


class FailOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        raise ValueError("no luck")


class CarefulOp(FailOp):
    async def async_default_execute(self, error: Exception) -> None:
        pass


class WaitOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await anyio.sleep_forever()


class LoopOp(BaseAsyncOp):
    """Calls its sub-op again and again and emits nothing."""

    calls = 0

    async def async_execute(self) -> None:
        while True:
            LoopOp.calls += 1
            await self.ops["quiet"].async_call()
            await anyio.lowlevel.checkpoint()


class AnswerLaterOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await anyio.wait_all_tasks_blocked()


class QuietOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        pass


def told(item: object) -> str:
    if isinstance(item, OpEvent):
        return f"{item.op} {item.state}"
    assert isinstance(item, FlowStreamChunk)
    return f"{item.chunk_type}: {item.chunk}"


async def trace(op: Op, config: dict[str, Any] | None = None) -> list[str]:
    """Run an op and return all that its trace tells; a failure is the last."""
    found: list[str] = []
    with anyio.fail_after(5):
        async with FlowApp(config or {}, flows={"flow": op}) as app, app.trace("flow") as items:
            try:
                async for item in items:
                    found += [told(item)]
            except (ValueError, RunFailedError) as error:
                found.append(repr(error))
    return found


async def test_a_trace_tells_of_each_op_in_order_with_the_chunks() -> None:
    assert await trace(SayOp() >> SayOp(text="you")) == [
        "0.0 started", "answer: hi", "0.0 finished",
        "0.1 started", "answer: you", "0.1 finished",
    ]  # fmt: skip


async def test_places_are_those_of_the_flow_also_where_an_op_stands_twice() -> None:
    op = SayOp()
    flow = op >> (AgentOp() << {"a": op, "b": op >> op}) >> (BlockOp() << op)

    started = [event.split()[0] for event in await trace(flow) if event.endswith("started")]

    assert started == [place for place, each in places(flow) if not isinstance(each, SequentialOp)]


async def test_an_event_has_the_class_and_the_time_since_the_start() -> None:
    async with FlowApp({}, flows={"flow": SayOp(name="mine")}) as app, app.trace("flow") as items:
        events = [item async for item in items if isinstance(item, OpEvent)]

    assert [event.name for event in events] == ["SayOp", "SayOp"]
    assert 0 <= events[0].at <= events[1].at < 5


async def test_a_failure_is_told_before_the_error_chunk() -> None:
    assert await trace(FailOp() >> SayOp()) == [
        "0.0 started", "0.0 failed", "error: ValueError: no luck", "ValueError('no luck')",
    ]  # fmt: skip


@pytest.mark.parametrize("op", [CarefulOp(), FailOp(raise_exception=False)])
async def test_a_failure_that_does_not_leave_the_op_is_none(op: Op) -> None:
    assert await trace(op) == ["0 started", "0 finished"]


async def test_the_siblings_of_an_op_that_fails_are_told_as_cancelled() -> None:
    found = await trace(WaitOp() | (QuietOp() >> AnswerLaterOp() >> FailOp()))

    assert found.index("0.1.2 failed") < found.index("0.0 cancelled")
    assert found.index("0.0 cancelled") < found.index("error: ValueError: no luck")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_op_that_awaits_what_others_cancelled_has_failed() -> None:
    class AwaitOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    found = await trace(AwaitOp())

    assert found[:2] == ["0 started", "0 failed"]
    assert found[-1].startswith("RunFailedError(")


async def test_a_cancelled_run_tells_which_op_was_running() -> None:
    async with FlowApp({}, flows={"flow": SayOp() >> WaitOp()}) as app, app.trace("flow") as items:
        found: list[str] = []
        with anyio.fail_after(5):
            while batch := await items.run.trace.receive():  # pyright: ignore[reportOptionalMemberAccess]
                found += map(told, batch)
                if found[-1] == "0.1 started":
                    items.run.cancel()

    assert found[-2] == "0.1 cancelled"
    assert found[-1].startswith("error: ")


async def test_the_chunks_of_a_traced_run_can_be_read_alone() -> None:
    flow = QuietOp() >> SayOp() >> QuietOp() >> SayOp()
    async with FlowApp({}, flows={"flow": flow}) as app:
        response = await read_response(app.start("flow", {}, trace=True))
        run = app.start("flow", {}, trace=True)
        chunks: list[FlowStreamChunk] = []
        while batch := await run.receive():
            chunks += batch
        assert run.receive_ready() == []

    assert response.answer == "hihi"
    assert [chunk.chunk for chunk in chunks] == ["hi", "hi"]
    assert run.chunks == 2


async def test_a_run_that_was_not_asked_tells_nothing() -> None:
    async with FlowApp({}, flows={"flow": SayOp()}) as app, app.stream("flow") as chunks:
        assert chunks.run.trace is None
        assert [chunk.chunk async for chunk in chunks] == ["hi"]


async def test_events_wait_for_a_slow_reader_and_none_is_lost() -> None:
    LoopOp.calls = 0
    config = {"stream_buffer_chunks": 10}
    flow = LoopOp() << {"quiet": QuietOp()}
    async with FlowApp(config, flows={"flow": flow}) as app, app.trace("flow") as items:
        with anyio.fail_after(5):
            await anyio.wait_all_tasks_blocked()
            calls = LoopOp.calls
            assert items.run.trace is not None
            found = [told(item) for _ in range(3) for item in await items.run.trace.receive()]

    assert calls == 6
    pairs = ["0.0 started", "0.0 finished"] * len(found)
    assert found == ["0 started", *pairs][: len(found)]


async def test_the_end_of_an_op_does_not_wait_for_a_slow_reader() -> None:
    config = {"stream_buffer_chunks": 2}
    async with FlowApp(config, flows={"flow": SayOp()}) as app, app.trace("flow") as items:
        with anyio.fail_after(5):
            await items.run.wait()
            assert items.run.state is RunState.DONE
            assert [told(item) async for item in items] == [
                "0 started", "answer: hi", "0 finished",
            ]  # fmt: skip


def test_the_times_of_ops_are_printed_also_of_one_that_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = OpTimes()
    times.event(OpEvent("0", "SayOp", "started", 0.0))
    times.event(OpEvent("0.0", "SayOp", "started", 0.5))
    times.event(OpEvent("0.0", "SayOp", "started", 1.0))
    times.event(OpEvent("0.0", "SayOp", "finished", 1.25))
    times.event(OpEvent("0.0", "SayOp", "cancelled", 3.0))

    times.print()

    rows = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert rows == [
        ["op", "name", "started", "took", "state"],
        ["0", "SayOp", "0.000", "s", "running"],
        ["0.0", "SayOp", "0.500", "s", "0.750", "s", "finished"],
        ["0.0", "SayOp", "1.000", "s", "2.000", "s", "cancelled"],
    ]


async def test_an_op_that_is_copied_while_it_runs_keeps_its_place() -> None:
    class CopyOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.ops["say"].bind(self.run).async_call()

    assert await trace(CopyOp() << {"say": SayOp()}) == [
        "0 started", "0.0 started", "answer: hi", "0.0 finished", "0 finished",
    ]  # fmt: skip
