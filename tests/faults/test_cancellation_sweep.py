"""A run that is stopped at any checkpoint ends as one that is stopped at a convenient one.

Each test lets a flow begin anew again and again, and stops it one step of the event loop later each
time, until the flow comes to its end first.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio
import anyio.lowlevel
import pytest
import trio

from flowcore import (
    BaseAsyncOp,
    BaseOp,
    ChunkEnum,
    FlowApp,
    FlowStreamChunk,
    Message,
    Op,
    OpEvent,
    Role,
    Run,
    RunFailedError,
    RunState,
    hookimpl,
)
from flowcore.testing import Pause, ScriptedLLM, scripted_llm
from tests.faults.stepping import Stepper, attempt, run

STOPPED = "stopped from outside"
HELLO = [Message(role=Role.USER, content="Hello")]


@dataclass
class Journal:
    """What happened in one run.

    Attributes:
        events: What observers were told.
        began: How often each place was entered, and a ``finally`` is due.
        ended: How often its ``finally`` was run to its end.
        endings: The states that the run was in when it ended.
    """

    events: Counter[str] = field(default_factory=Counter[str])
    began: Counter[str] = field(default_factory=Counter[str])
    ended: Counter[str] = field(default_factory=Counter[str])
    endings: list[RunState] = field(default_factory=list[RunState])


class Observer:
    """A plugin that counts the events of each run."""

    @hookimpl
    def flowcore_run_started(self, run: Run) -> None:
        run.data["journal"].events["run started"] += 1

    @hookimpl
    def flowcore_run_finished(self, run: Run) -> None:
        run.data["journal"].events["run finished"] += 1
        run.data["journal"].endings.append(run.state)

    @hookimpl
    def flowcore_op_started(self, run: Run, op: Op) -> None:
        run.data["journal"].events[f"{op.name} started"] += 1

    @hookimpl
    def flowcore_op_finished(self, run: Run, op: Op) -> None:
        run.data["journal"].events[f"{op.name} finished"] += 1


@contextmanager
def place(op: Op, name: str = "") -> Generator[None]:
    journal: Journal = op.context["journal"]
    key = f"{op.name} {name}"
    journal.began[key] += 1
    try:
        yield
    finally:
        journal.ended[key] += 1


class SetupOp(BaseAsyncOp):
    """Succeeds at its second try, and cleans up after each, shielded."""

    async def async_before_execute(self) -> None:
        with place(self, "before"):
            await anyio.lowlevel.checkpoint()

    async def async_execute(self) -> None:
        tries = self.context["tries"] = self.context.get("tries", 0) + 1
        try:
            with place(self):
                await anyio.lowlevel.checkpoint()
                if tries == 1:
                    raise OSError("not yet")
        finally:
            with anyio.CancelScope(shield=True), place(self, "cleanup"):
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()

    async def async_after_execute(self) -> None:
        with place(self, "after"):
            await anyio.lowlevel.checkpoint()


class FallbackOp(BaseAsyncOp):
    """Fails, and falls back to an answer."""

    async def async_execute(self) -> None:
        with place(self):
            await anyio.lowlevel.checkpoint()
            raise OSError("never")

    async def async_default_execute(self, error: Exception) -> None:
        with place(self, "fallback"):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="fallback "))


class AskOp(BaseAsyncOp):
    """Streams what the model says; with ``limit``, only the first so many chunks of it."""

    limit: int = 100

    async def async_execute(self) -> None:
        with place(self):
            count = 0
            async for chunk in self.llm.astream_chat(HELLO):
                count += 1
                if chunk.chunk_type is ChunkEnum.ANSWER:
                    await self.context.add_stream_chunk(chunk)
                if count == self.limit:
                    break


class OuterOp(BaseAsyncOp):
    """Calls its sub-op twice, the second time beside another task."""

    async def async_execute(self) -> None:
        with place(self):
            await self.ops.ask.async_call()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.ops.ask.async_call)
                with place(self, "group"):
                    await anyio.lowlevel.checkpoint()


class ThreadOp(BaseOp):
    """Emits and asks the model from a thread."""

    def execute(self) -> None:
        with place(self):
            self.context.add_stream_chunk_sync(FlowStreamChunk(chunk="thread "))
            self.context.add_stream_chunk_sync(
                FlowStreamChunk(chunk=str(self.llm.chat(HELLO).content))
            )


def flow_of(llm: ScriptedLLM) -> Op:
    outer = OuterOp() << {"ask": AskOp(llm=llm, limit=1)}
    branches = FallbackOp(max_retries=2) | outer
    return SetupOp(max_retries=2) >> branches >> ThreadOp(llm=llm) >> AskOp(llm=llm)


@dataclass
class Bench:
    """An open app with the flow under test, and what is seen of one run.

    Attributes:
        app: The app.
        llm: The model of its ops.
        run: The run.
        journal: Its journal.
        chunks: What its reader has got.
        read_on: Whether the reader read to the end.
    """

    app: FlowApp
    llm: ScriptedLLM
    run: Run | None = None
    journal: Journal = field(default_factory=Journal)
    chunks: list[FlowStreamChunk] = field(default_factory=list[FlowStreamChunk])
    read_on: bool = False

    async def read(self, run: Run) -> None:
        self.run = run
        while chunks := await run.receive():
            self.chunks += chunks
        self.read_on = True


Way = Callable[[Bench, Stepper, int], Awaitable[None]]


async def cancel_it(bench: Bench, stepper: Stepper, steps: int) -> None:
    """Somebody cancels the run; its reader reads on."""
    run = bench.app.start("demo", {"journal": bench.journal})
    stepper.arm(steps, run.cancel)
    await bench.read(run)


async def cancel_it_traced(bench: Bench, stepper: Stepper, steps: int) -> None:
    """Somebody cancels a traced run; its reader is told the end of each op that started."""
    run = bench.run = bench.app.start("demo", {"journal": bench.journal}, trace=True)
    assert run.trace is not None
    stepper.arm(steps, run.cancel)
    going: Counter[str] = Counter()
    while items := await run.trace.receive():
        for item in items:
            if isinstance(item, OpEvent):
                going[item.op] += 1 if item.state == "started" else -1
                assert going[item.op] >= 0
            else:
                bench.chunks.append(item)
    bench.read_on = True
    # To cancel a run that is done is to leave it unread.
    assert not +going or (stepper.acted and run.state is RunState.DONE)


async def fail_it(bench: Bench, stepper: Stepper, steps: int) -> None:
    """Somebody lets the run fail; its reader reads on."""
    run = bench.app.start("demo", {"journal": bench.journal})
    stepper.arm(steps, partial(run.fail, RunFailedError(STOPPED)))
    await bench.read(run)


async def leave_it(bench: Bench, stepper: Stepper, steps: int) -> None:
    """The reader leaves the block."""
    async with bench.app.stream("demo", journal=bench.journal) as chunks:
        with anyio.CancelScope() as scope:
            stepper.arm(steps, scope.cancel)
            await bench.read(chunks.run)


async def cancel_its_reader(bench: Bench, stepper: Stepper, steps: int) -> None:
    """The reader is cancelled."""
    with anyio.CancelScope() as scope:
        stepper.arm(steps, scope.cancel)
        async with bench.app.stream("demo", journal=bench.journal) as chunks:
            await bench.read(chunks.run)


async def cancel_its_task(bench: Bench, stepper: Stepper, steps: int) -> None:
    """The reader's task is cancelled as asyncio does it, once and not again."""

    async def read() -> None:
        async with bench.app.stream("demo", journal=bench.journal) as chunks:
            stepper.arm(steps, task.cancel)
            await bench.read(chunks.run)

    task = asyncio.get_running_loop().create_task(read())
    await asyncio.wait([task])
    assert task.cancelled() or task.result() is None


async def cancel_it_twice(bench: Bench, stepper: Stepper, steps: int) -> None:
    """The reader is cancelled up to six steps after the run."""
    before, between = divmod(steps, 7)
    with anyio.CancelScope() as scope:
        async with bench.app.stream("demo", journal=bench.journal) as chunks:

            def first() -> None:
                chunks.run.cancel()
                stepper.go_on(between, scope.cancel)

            stepper.arm(before, first)
            await bench.read(chunks.run)


async def close_the_app(bench: Bench, stepper: Stepper, steps: int) -> None:
    """The app is closed; the reader reads on."""
    app = bench.app
    closing = anyio.Event()
    async with anyio.create_task_group() as tasks:
        async with app:
            stepper.arm(steps, closing.set)
            run = app.start("demo", {"journal": bench.journal})
            run.add_done_callback(lambda run: closing.set())
            tasks.start_soon(bench.read, run)
            await closing.wait()


ENDINGS: dict[Way, set[RunState]] = {fail_it: {RunState.DONE, RunState.FAILED}}
WHOLE = Counter({"thread ": 1, "fallback ": 1, "One ": 3, "two.": 1, "One two.": 1})


WAYS = (
    cancel_it,
    cancel_it_traced,
    fail_it,
    leave_it,
    cancel_its_reader,
    cancel_it_twice,
    close_the_app,
)
SWEEPS = [
    *(("asyncio", way) for way in (*WAYS, cancel_its_task)),
    *(("trio", way) for way in WAYS),
]


@pytest.mark.parametrize(
    ("backend", "way"), SWEEPS, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_run_may_be_stopped_at_every_step(
    backend: str, way: Way, caplog: pytest.LogCaptureFixture
):
    steps = 0

    async def sweep(stepper: Stepper) -> None:
        nonlocal steps
        llm = scripted_llm(["One ", Pause(pause=0), "two."])
        config = {"stream_buffer_chunks": 1, "thread_pool_max_workers": 2}
        app = FlowApp(config, plugins=[Observer()], flows={"demo": flow_of(llm)})
        async with AsyncExitStack() as stack:
            if way is not close_the_app:
                await stack.enter_async_context(app)
            baseline = tasks_now()
            while True:
                bench = Bench(app, llm)
                with attempt(steps):
                    with anyio.fail_after(10):
                        await way(bench, stepper, steps)
                        finished = not stepper.acted
                        stepper.disarm()
                        await settle(bench, baseline)
                    check(bench, ENDINGS.get(way, {RunState.DONE, RunState.CANCELLED}))
                if finished:
                    break
                steps += 1
            assert bench.run is not None
            assert bench.run.state is RunState.DONE
            assert Counter(str(chunk.chunk) for chunk in bench.chunks) == WHOLE

    run(backend, sweep)
    gc.collect()
    assert steps > 30
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert [error for error in errors if not error.endswith(STOPPED)] == []


def tasks_now() -> int:
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        return len(asyncio.all_tasks())
    return trio.lowlevel.current_statistics().tasks_living


async def settle(bench: Bench, baseline: int) -> None:
    """Wait until nothing of a run is left; threads may take a moment."""
    assert bench.run is not None
    await bench.run.wait()
    while bench.app.backends.threads.borrowed_tokens or tasks_now() > baseline:
        await anyio.sleep(0.0005)


def check(bench: Bench, endings: set[RunState]) -> None:
    run, journal = bench.run, bench.journal
    assert run is not None
    assert journal.endings == [run.state]
    assert run.state in endings
    assert not run.abandoned
    assert not run.active_ops
    assert not bench.app.runs
    assert bench.llm.open_streams == 0
    assert run.queued_bytes == 0
    assert journal.began == journal.ended
    names = {event.rpartition(" ")[0] for event in journal.events}
    for name in names:
        assert journal.events[f"{name} started"] == journal.events[f"{name} finished"], name
    assert journal.events["run started"] == 1
    errors = [chunk for chunk in bench.chunks if chunk.chunk_type is ChunkEnum.ERROR]
    if bench.read_on:
        expected = [] if run.state is RunState.DONE else [run.failure]
        assert errors == expected == bench.chunks[len(bench.chunks) - len(expected) :]
