from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from pydantic import BaseModel

from flowcore import (
    BaseAsyncOp,
    BaseOp,
    ChunkEnum,
    FlowApp,
    FlowStreamChunk,
    Message,
    Op,
    OpDefinitionError,
    RunCancelledError,
    RunFailedError,
    RunState,
    ToolCall,
)
from flowcore.op_listing import describe_parameters
from flowcore.testing import collect, run_op, scripted_llm

Log = Callable[[], list[str]]
T = TypeVar("T")


async def emit(op: Any, text: str) -> None:
    await op.context.add_stream_chunk(FlowStreamChunk(chunk=text))


# --- parameters


def test_parameters_are_class_attributes_or_arguments_of_init() -> None:
    class DeclaredOp(BaseAsyncOp):
        top_k: int = 5
        query: str

        async def async_execute(self) -> None: ...

    class InitOp(BaseAsyncOp):
        def __init__(self, top_k: int = 5, **params: Any) -> None:
            super().__init__(**params)
            self.top_k = top_k

        async def async_execute(self) -> None: ...

    with pytest.raises(OpDefinitionError, match="DeclaredOp needs the parameter 'query'"):
        DeclaredOp()
    assert DeclaredOp(query="q").top_k == 5
    assert (DeclaredOp(top_k=7, query="q").top_k, DeclaredOp(query="q").query) == (7, "q")
    assert DeclaredOp.top_k == 5
    assert InitOp(7, max_retries=2).top_k == 7


def test_parameters_are_inherited() -> None:
    class SearchOp(BaseAsyncOp):
        top_k: int = 5

        async def async_execute(self) -> None: ...

    class WebSearchOp(SearchOp):
        engine: str = "x"

    op = WebSearchOp(top_k=1, engine="y")

    assert (op.top_k, op.engine) == (1, "y")


class WithTemperature:
    temperature: float = 0.5
    top_k: int = 1


class WithTopK:
    top_k: int = 2
    query: str


def test_a_mixin_brings_parameters_wherever_it_stands() -> None:
    class SearchOp(WithTemperature, BaseAsyncOp, WithTopK, Generic[T]):
        async def async_execute(self) -> None: ...

    class OtherOp(BaseAsyncOp, WithTopK, WithTemperature):
        async def async_execute(self) -> None: ...

    op = SearchOp(query="q", temperature=1)

    assert (op.query, op.temperature, op.top_k, OtherOp(query="q").top_k) == ("q", 1.0, 1, 2)
    listed = [(p.name, p.default) for p in describe_parameters(SearchOp)]
    assert listed == [("query", None), ("temperature", 0.5), ("top_k", 1)]
    listed = [(p.name, p.default) for p in describe_parameters(OtherOp)]
    assert listed == [("query", None), ("top_k", 2), ("temperature", 0.5)]
    with pytest.raises(OpDefinitionError, match="OtherOp needs the parameter 'query'"):
        OtherOp()
    with pytest.raises(OpDefinitionError, match=r"OtherOp: parameter 'top_k' .* must be"):
        OtherOp(query="q", top_k="many")


def test_a_mixin_names_the_model_as_the_class_itself_does() -> None:
    class WithSmall:
        llm = "small"

    class EarlierOp(BaseAsyncOp):
        llm = "large"  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

        async def async_execute(self) -> None: ...

    class FirstOp(WithSmall, EarlierOp): ...

    class HeirOp(FirstOp): ...

    class BehindOp(EarlierOp, WithSmall): ...

    double = scripted_llm("hi")
    ops = [FirstOp(), HeirOp(), BehindOp(), HeirOp(llm="other"), FirstOp(llm=double)]

    named = [op.named_backends().get("llm") for op in ops]
    assert named == ["small", "small", "large", "other", None]
    assert ops[-1].llm is double
    assert WithSmall.llm == "small"


def test_a_declared_parameter_in_a_slot_is_required() -> None:
    class Slotted:
        __slots__ = ("index", "seen")
        index: str

    class SearchOp(Slotted, BaseAsyncOp):
        async def async_execute(self) -> None: ...

    with pytest.raises(OpDefinitionError, match="SearchOp needs the parameter 'index'"):
        SearchOp()
    assert SearchOp(index="news").index == "news"
    listed = [(p.name, p.required) for p in describe_parameters(SearchOp)]
    assert listed == [("index", True), ("seen", False)]


@pytest.mark.parametrize(
    "name", ["async_execute", "run", "context", "_run", "__class__", "file_path", "bind", "llms"]
)
def test_what_is_not_a_parameter_cannot_be_set(name: str) -> None:
    class SearchOp(BaseAsyncOp):
        async def async_execute(self) -> None: ...

    with pytest.raises(OpDefinitionError, match=f"SearchOp has no parameter '{name}'"):
        SearchOp(**dict[str, Any]({name: 1}))


def test_an_unknown_parameter_is_met_with_the_way_to_declare_it() -> None:
    class SearchOp(BaseAsyncOp):
        async def async_execute(self) -> None: ...

    with pytest.raises(OpDefinitionError, match=r"declares its own .*`depth: int = …`"):
        SearchOp(depth=3)


def test_failures_are_raised_unless_the_op_says_otherwise() -> None:
    class SearchOp(BaseAsyncOp):
        async def async_execute(self) -> None: ...

    assert SearchOp().raise_exception is True
    assert SearchOp().max_retries == 1


# --- wrong classes


def test_async_methods_must_be_async_and_sync_ones_must_not() -> None:
    with pytest.raises(OpDefinitionError, match="must be written as `async def`"):

        class PlainOp(BaseAsyncOp):
            def async_execute(self) -> None: ...  # pyright: ignore[reportIncompatibleMethodOverride]

    with pytest.raises(OpDefinitionError, match="without `yield`"):

        class YieldOp(BaseAsyncOp):
            async def async_execute(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
                yield 1

    with pytest.raises(OpDefinitionError, match="derive from BaseAsyncOp"):

        class AsyncOp(BaseOp):
            async def execute(self) -> None: ...


def test_an_op_without_execute_cannot_be_made() -> None:
    class EmptyOp(BaseAsyncOp):
        pass

    with pytest.raises(TypeError, match="async_execute"):
        EmptyOp()  # pyright: ignore[reportAbstractUsage]


# --- before, after, fallback


class StagesOp(BaseAsyncOp):
    """Fails in the stages that it is told, as often as it is told."""

    def __init__(self, fail: dict[str, int] | None = None, **params: Any) -> None:
        super().__init__(**params)
        self.fail = dict(fail or {})
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)
        self.context.stages = self.stages
        if self.fail.get(name, 0) > 0:
            self.fail[name] -= 1
            raise ValueError(f"{name} failed")

    async def async_before_execute(self) -> None:
        self.stage("before")

    async def async_execute(self) -> str:
        self.stage("execute")
        return "value"

    async def async_after_execute(self) -> None:
        self.stage("after")


class FallbackOp(StagesOp):
    async def async_default_execute(self, error: Exception) -> str:
        self.stage("fallback")
        return f"instead of {error}"


class SyncStagesOp(BaseOp):
    def __init__(self, fail: dict[str, int] | None = None, **params: Any) -> None:
        super().__init__(**params)
        self.fail = dict(fail or {})
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self.stages.append(name)
        self.context.stages = self.stages
        if self.fail.get(name, 0) > 0:
            self.fail[name] -= 1
            raise ValueError(f"{name} failed")

    def before_execute(self) -> None:
        self.stage("before")

    def execute(self) -> str:
        self.stage("execute")
        return "value"

    def after_execute(self) -> None:
        self.stage("after")


class SyncFallbackOp(SyncStagesOp):
    def default_execute(self, error: Exception) -> str:
        self.stage("fallback")
        return f"instead of {error}"


class HoldOp(BaseAsyncOp):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    async def async_execute(self) -> None:
        self.context.returned = await self.inner.async_call()


async def outcome(op: Any) -> tuple[list[str], Any]:
    """Return the stages that an op went through, and what it returned or raised."""
    async with FlowApp({}, flows={"f": HoldOp(op)}) as app, app.stream("f") as chunks:
        while await chunks.run.receive():
            pass
        await chunks.run.wait()
        data = chunks.run.data
        return data.get("stages", []), data.get("returned", chunks.run.error)


@pytest.mark.parametrize("op_class", [StagesOp, SyncStagesOp])
async def test_before_and_after_stand_around_execute(op_class: Any) -> None:
    assert await outcome(op_class()) == (["before", "execute", "after"], "value")


@pytest.mark.parametrize("op_class", [StagesOp, SyncStagesOp])
@pytest.mark.parametrize("stage", ["before", "execute", "after"])
async def test_max_retries_counts_the_tries_of_all_three_stages(op_class: Any, stage: str) -> None:
    order = ["before", "execute", "after"]
    failed = order[: order.index(stage) + 1]

    stages, returned = await outcome(op_class({stage: 2}, max_retries=3))

    assert stages == [*failed, *failed, *order]
    assert returned == "value"


@pytest.mark.parametrize("op_class", [StagesOp, SyncStagesOp])
async def test_after_the_last_try_the_failure_is_raised(op_class: Any) -> None:
    stages, error = await outcome(op_class({"execute": 9}, max_retries=3))

    assert stages == ["before", "execute"] * 3
    assert isinstance(error, ValueError)
    assert str(error) == "execute failed"


@pytest.mark.parametrize("op_class", [FallbackOp, SyncFallbackOp])
@pytest.mark.parametrize("raise_exception", [True, False])
async def test_a_fallback_runs_once_after_the_last_try(
    op_class: Any, raise_exception: bool
) -> None:
    op = op_class({"execute": 9}, max_retries=2, raise_exception=raise_exception)

    stages, returned = await outcome(op)

    assert stages == ["before", "execute", "before", "execute", "fallback"]
    assert returned == "instead of execute failed"


@pytest.mark.parametrize("op_class", [FallbackOp, SyncFallbackOp])
async def test_a_fallback_that_fails_takes_the_place_of_the_first_error(op_class: Any) -> None:
    fail = {"execute": 9, "fallback": 1}

    _, error = await outcome(op_class(fail, name="fragile"))
    assert str(error) == "fallback failed"
    assert error.__notes__[0] == "in flow 'f', op 'fragile'"
    assert str(error.__context__) == "execute failed"

    assert await outcome(op_class(fail, raise_exception=False)) == (
        ["before", "execute", "fallback"],
        None,
    )


@pytest.mark.parametrize("name", ["op_params", "submit_task", "join_task"])
async def test_who_asks_an_op_for_what_flowllm_had_is_told_what_takes_its_place(name: str) -> None:
    class OldOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            getattr(self, name)

    class OtherOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            getattr(object(), name)

    with pytest.raises(AttributeError) as caught:
        await run_op(OldOp())
    told, where = caught.value.__notes__
    assert told.startswith(f"self.{name} is FlowLLM's: ")
    assert where.endswith("op 'old_op'")

    with pytest.raises(AttributeError) as caught:
        await run_op(OtherOp())
    assert len(caught.value.__notes__) == 1


async def test_who_asks_what_an_op_uses_for_what_it_had_in_flowllm_is_told_too() -> None:
    class Response(BaseModel):
        """Has no such attribute either."""

    class OldOp(BaseAsyncOp):
        def __init__(self, value: Any, name: str) -> None:
            super().__init__()
            self.asked = value, name

        async def async_execute(self) -> None:
            getattr(*self.asked)

    async def notes(value: object, name: str) -> list[str]:
        with pytest.raises(AttributeError) as caught:
            await run_op(OldOp(value, name))
        return caught.value.__notes__

    told, _ = await notes(ToolCall(name="f"), "argument_dict")
    assert told.startswith("ToolCall.argument_dict is FlowLLM's: write `json.loads(")
    told, _ = await notes(Message(), "simple_dump")
    assert told.startswith("Message.simple_dump is FlowLLM's: ")
    assert len(await notes(Message(), "argument_dict")) == 1
    assert len(await notes(Response(), "simple_dump")) == 1


def test_a_parameter_that_ops_had_in_flowllm_is_refused_with_what_to_do() -> None:
    class OneOp(BaseAsyncOp):
        size: int = 1

        async def async_execute(self) -> None: ...

    with pytest.raises(OpDefinitionError, match="no parameter 'enable_cache', which is FlowLLM's"):
        OneOp(enable_cache=True)


@pytest.mark.parametrize("op_class", [StagesOp, SyncStagesOp])
async def test_raise_exception_false_logs_and_goes_on(op_class: Any, log: Log) -> None:
    stages, returned = await outcome(op_class({"execute": 9}, raise_exception=False, name="weak"))

    assert stages == ["before", "execute"]
    assert returned is None
    assert any("op 'weak' failed and is passed over" in line for line in log())


async def test_each_further_try_is_logged(log: Log) -> None:
    await outcome(StagesOp({"execute": 2}, max_retries=3, name="shaky"))

    tries = [line for line in log() if "op 'shaky' failed" in line and "next try" in line]
    assert len(tries) == 2


# --- tries and chunks


class EmitThenFailOp(BaseAsyncOp):
    chunks: int = 1

    async def async_execute(self) -> None:
        self.context.tries = self.context.get("tries", 0) + 1
        for number in range(self.chunks):
            await emit(self, f"{number}")
        raise ValueError("late")


async def test_an_op_that_has_emitted_is_not_tried_again() -> None:
    app = FlowApp({}, flows={"f": EmitThenFailOp(max_retries=5)})
    async with app, app.stream("f") as chunks:
        got = await chunks.run.receive()
        while batch := await chunks.run.receive():
            got += batch
        assert chunks.run.data["tries"] == 1

    assert [chunk.chunk_type for chunk in got] == [ChunkEnum.ANSWER, ChunkEnum.ERROR]


async def test_empty_chunks_are_not_sent_and_do_not_count() -> None:
    class EmptyThenFailOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.tries = self.context.get("tries", 0) + 1
            await emit(self, "")
            if self.context.tries < 3:
                raise ValueError("again")

    result = await run_op(EmptyThenFailOp(max_retries=3))

    assert result.chunks == []


async def test_what_a_sub_op_has_emitted_counts_for_the_op_above_it() -> None:
    class ParentOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.parent_tries = self.context.get("parent_tries", 0) + 1
            await self.ops.child.async_call()

    op = ParentOp(max_retries=3) << {"child": EmitThenFailOp()}

    async with FlowApp({}, flows={"f": op}) as app, app.stream("f") as chunks:
        while await chunks.run.receive():
            pass
        assert chunks.run.data["parent_tries"] == 1


async def test_what_other_ops_have_emitted_does_not_hinder_a_further_try() -> None:
    class TalkOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await emit(self, "talk")

    class ShakyOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.tries = self.context.get("tries", 0) + 1
            if self.context.tries < 3:
                raise ValueError("again")

    result = await run_op(TalkOp() >> ShakyOp(max_retries=3))

    assert result.text == "talk"


@pytest.mark.parametrize(
    "config", [{"stream_buffer_bytes": 1}, {"stream_buffer_chunks": 1}, {"stream_buffer_bytes": 9}]
)
async def test_a_chunk_is_never_sent_twice_by_a_further_try(config: dict[str, Any]) -> None:
    """Whatever an op that gave up waiting for its reader does next, no text comes twice."""

    class ImpatientOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            with anyio.fail_after(0.01):
                for text in ("aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"):
                    await emit(self, text)

    async with FlowApp(config, flows={"f": ImpatientOp(max_retries=4)}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                await chunks.run.wait()
                got: list[str] = []
                while batch := await chunks.run.receive():
                    got += [str(c.chunk) for c in batch if c.chunk_type is ChunkEnum.ANSWER]

    assert len(got) == len(set(got))
    assert got[:1] == ["aaaaaaaaaa"]


async def test_an_error_chunk_may_be_tried_again_or_fall_back() -> None:
    class SayErrorOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.tries = self.context.get("tries", 0) + 1
            await self.context.add_stream_chunk(
                FlowStreamChunk(chunk_type=ChunkEnum.ERROR, chunk="not now")
            )

        async def async_default_execute(self, error: Exception) -> None:
            assert isinstance(error, RunFailedError)
            await emit(self, f"{error} after {self.context.tries}")

    result = await run_op(SayErrorOp(max_retries=2))

    assert [(c.chunk_type, c.chunk) for c in result.chunks] == [
        (ChunkEnum.ANSWER, "not now after 2")
    ]


async def test_a_cancellation_is_neither_tried_again_nor_falls_back() -> None:
    seen: list[str] = []

    class PatientOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            seen.append("try")
            await anyio.sleep_forever()

        async def async_default_execute(self, error: Exception) -> None:
            seen.append("fallback")

    op = PatientOp(max_retries=3, raise_exception=False)
    async with FlowApp({}, flows={"f": op}) as app, app.stream("f") as chunks:
        await anyio.wait_all_tasks_blocked()
    assert chunks.run.state is RunState.CANCELLED
    assert seen == ["try"]


# --- sync ops


async def test_a_sync_op_runs_in_a_thread_and_does_not_hold_up_the_loop() -> None:
    released = threading.Event()

    class WaitOp(BaseOp):
        def execute(self) -> None:
            assert threading.current_thread() is not threading.main_thread()
            assert released.wait(5)
            self.context.response.answer = "went on"

    async with FlowApp({}, flows={"f": WaitOp()}) as app, app.stream("f") as chunks:
        await anyio.wait_all_tasks_blocked()
        released.set()
        assert [chunk.chunk async for chunk in chunks] == ["went on"]


async def test_a_sync_op_streams_and_uses_its_llm() -> None:
    class TalkOp(BaseOp):
        def execute(self) -> None:
            reply = self.llm.chat([])
            for word in str(reply.content).split():
                self.context.add_stream_chunk_sync(FlowStreamChunk(chunk=word))

    result = await run_op(TalkOp(llm=scripted_llm(["one ", "two"])))

    assert result.texts(ChunkEnum.ANSWER) == ["one", "two"]


@pytest.mark.parametrize("limit", [1, 3])
async def test_no_more_sync_ops_run_at_once_than_thread_pool_max_workers(limit: int) -> None:
    lock = threading.Lock()
    now = most = 0
    full = threading.Event()

    class BusyOp(BaseOp):
        def execute(self) -> None:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
                if now == limit:
                    full.set()
            assert full.wait(5)
            with lock:
                now -= 1

    async with FlowApp({"thread_pool_max_workers": limit}, flows={"f": BusyOp()}) as app:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(12):
                    group.start_soon(app.execute, "f")

    assert most == limit


async def test_no_place_in_the_pool_is_lost_to_readers_that_leave_early() -> None:
    class QuickOp(BaseOp):
        def execute(self) -> None:
            self.context.response.answer = "quick"

    async with FlowApp({"thread_pool_max_workers": 1}, flows={"f": QuickOp()}) as app:
        with anyio.fail_after(5):
            for pauses in [*range(12)] * 5:
                async with app.stream("f"):
                    for _ in range(pauses):
                        await checkpoint()
            assert (await app.execute("f")).answer == "quick"


async def test_a_thread_that_was_left_to_itself_keeps_its_place_until_it_ends() -> None:
    go = threading.Event()

    class WaitOp(BaseOp):
        def execute(self) -> None:
            if self.context.get("wait"):
                started.set()
                assert go.wait(5)

    started = threading.Event()
    async with FlowApp({"thread_pool_max_workers": 1}, flows={"f": WaitOp()}) as app:
        with anyio.fail_after(10):
            async with app.stream("f", wait=True):
                await anyio.to_thread.run_sync(started.wait, 5)
            async with app.stream("f") as chunks:
                await anyio.wait_all_tasks_blocked()
                assert chunks.run.state is RunState.RUNNING
                go.set()
                await chunks.run.wait()
                assert chunks.run.state is RunState.DONE


async def test_a_sync_op_that_calls_a_sync_sub_op_needs_no_second_thread_of_the_pool() -> None:
    class LeafOp(BaseOp):
        def execute(self) -> str:
            return "leaf"

    class ParentOp(BaseOp):
        def execute(self) -> str:
            return f"{self.name} of {self.ops.sub.call()}"  # pyright: ignore[reportAttributeAccessIssue]

    class TopOp(ParentOp):
        def execute(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            self.context.response.answer = super().execute()

    op = TopOp(name="top") << {"sub": ParentOp(name="middle") << {"sub": LeafOp()}}

    async with FlowApp({"thread_pool_max_workers": 1}, flows={"f": op}) as app:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(app.execute, "f")
            assert (await app.execute("f")).answer == "top of middle of leaf"


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration("x"), SystemExit(3)])
async def test_whatever_a_sync_op_raises_fails_its_run_only(error: BaseException) -> None:
    class RaiseOp(BaseOp):
        def execute(self) -> None:
            raise error

    class CalmOp(BaseOp):
        def execute(self) -> None:
            self.context.response.answer = "calm"

    async with FlowApp({}, flows={"bad": RaiseOp(), "good": CalmOp()}) as app:
        result = await collect(app, "bad")
        assert (await app.execute("good")).answer == "calm"

    assert result.state is RunState.FAILED
    assert [chunk.chunk_type for chunk in result.chunks] == [ChunkEnum.ERROR]
    assert result.chunks[0].chunk


async def test_the_thread_of_a_cancelled_run_is_left_to_itself_and_its_chunks_are_dropped(
    log: Log,
) -> None:
    go, gone = threading.Event(), threading.Event()

    class StubbornOp(BaseOp):
        def execute(self) -> None:
            try:
                self.context.add_stream_chunk_sync(FlowStreamChunk(chunk="early"))
                assert go.wait(5)
                self.context.add_stream_chunk_sync(FlowStreamChunk(chunk="late"))
            finally:
                gone.set()

    async with FlowApp({}, flows={"f": StubbornOp()}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                assert (await anext(chunks)).chunk == "early"
            assert chunks.run.state is RunState.CANCELLED
            go.set()
            assert await anyio.to_thread.run_sync(gone.wait, 5)

    assert not any("Traceback" in line or "ERROR" in line for line in log())


async def test_a_thread_whose_sibling_has_failed_sends_nothing_more() -> None:
    began, go, gone = threading.Event(), threading.Event(), threading.Event()
    refused: list[type[BaseException]] = []

    class LateOp(BaseOp):
        def execute(self) -> None:
            began.set()
            try:
                assert go.wait(5)
                self.context.add_stream_chunk_sync(FlowStreamChunk(chunk="late"))
            except BaseException as error:
                refused.append(type(error))
            finally:
                gone.set()

    class FailOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            assert await anyio.to_thread.run_sync(began.wait, 5)
            raise ValueError("mine")

    class HoldOp(BaseAsyncOp):
        def __init__(self, inner: Op) -> None:
            super().__init__()
            self.inner = inner

        async def async_execute(self) -> None:
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="before"))
            await self.inner.async_call()

        async def async_default_execute(self, error: Exception) -> None:
            go.set()
            assert await anyio.to_thread.run_sync(gone.wait, 5)
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="after"))

    with anyio.fail_after(10):
        result = await run_op(HoldOp(LateOp() | FailOp()))

    assert [chunk.chunk for chunk in result.chunks] == ["before", "after"]
    assert refused == [RunCancelledError]


async def test_a_branch_that_is_cancelled_while_it_streams_stops_within_a_buffer() -> None:
    class FloodOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            while True:
                await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))

    class FailOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await checkpoint()
            raise ValueError("mine")

    async with FlowApp({"stream_buffer_chunks": 8}, flows={"f": FloodOp() | FailOp()}) as app:
        with anyio.fail_after(5):
            result = await collect(app, "f")

    assert result.chunks[-1].chunk == "ValueError: mine"
    assert len(result.chunks) < 8 * 5


@pytest.mark.parametrize("config", [{"stream_buffer_bytes": 50}, {"stream_buffer_chunks": 2}])
async def test_a_sync_op_that_waits_for_its_reader_is_freed_when_the_reader_leaves(
    config: dict[str, Any],
) -> None:
    gone = threading.Event()

    class ChattyOp(BaseOp):
        def execute(self) -> None:
            try:
                for _ in range(1000):
                    self.context.add_stream_chunk_sync(FlowStreamChunk(chunk="x" * 20))
            finally:
                gone.set()

    async with FlowApp(config, flows={"f": ChattyOp()}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                await anext(chunks)
                assert not gone.is_set()
            assert await anyio.to_thread.run_sync(gone.wait, 4)


# --- backends by name


async def test_an_op_given_a_backend_object_uses_it() -> None:
    llm = scripted_llm(["mine"])

    class AskOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            assert self.llm is llm
            self.context.response.answer = (await self.llm.achat([])).content

    assert (await run_op(AskOp(llm=llm))).response.answer == "mine"
