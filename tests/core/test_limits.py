from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from flowcore import (
    AppBusyError,
    BaseAsyncOp,
    BaseOp,
    ChunkEnum,
    ChunkError,
    ConfigError,
    FlowApp,
    FlowStreamChunk,
    Op,
    Registrar,
    Run,
    RunState,
    RunTimeoutError,
    hookimpl,
)
from flowcore.testing import RunResult, collect

Log = Callable[[], list[str]]


async def emit(op: Any, text: str) -> None:
    await op.context.add_stream_chunk(FlowStreamChunk(chunk=text))


class SilentOp(BaseAsyncOp):
    """Emits so many chunks at once, and then nothing for ever."""

    chunks: int = 0

    async def async_execute(self) -> None:
        for number in range(self.chunks):
            await emit(self, str(number))
        await anyio.sleep_forever()


class TickOp(BaseAsyncOp):
    """Emits a chunk every 20 ms for ever."""

    async def async_execute(self) -> None:
        while True:
            await emit(self, "tick")
            await anyio.sleep(0.02)


class DeafOp(BaseAsyncOp):
    """Does not care about its cancellation until it is told to go."""

    async def async_execute(self) -> None:
        go: anyio.Event = self.context["go"]
        while not go.is_set():
            self.context.is_deaf = True
            try:
                await go.wait()
            except BaseException:
                self.context["ignored"].append(time.monotonic())
        await emit(self, "late")


def streamed(op: str, **keys: Any) -> dict[str, Any]:
    return {"flow": {"f": {"flow_content": op, "stream": True, **keys}}}


class OpsPlugin:
    @hookimpl
    def flowcore_register_ops(self, ops: Registrar[Op]) -> None:
        for op in (SilentOp, TickOp, DeafOp, BigOp, QuickOp, BrokenOp):
            ops.add(op)


def app_of(config: dict[str, Any]) -> FlowApp:
    return FlowApp(config, plugins=[OpsPlugin()])


async def run_until_end(config: dict[str, Any]) -> RunResult:
    with anyio.fail_after(10):
        async with app_of(config) as app:
            return await collect(app, "f")


class QuickOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await emit(self, "quick")


class BrokenOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        raise ValueError("the password is 1234")


class BigOp(BaseAsyncOp):
    """Emits one chunk of a type with a payload that is repeated."""

    kind: str = "answer"
    payload: Any = "x"
    times: int = 1

    async def async_execute(self) -> None:
        await self.context.add_stream_chunk(
            FlowStreamChunk(
                chunk_type=ChunkEnum(self.kind),
                chunk=self.payload * self.times,
                metadata={"finish_reason": "stop"},
            )
        )


# --- deadlines


@pytest.mark.parametrize(
    ("op", "deadlines", "code"),
    [
        ("SilentOp()", {"first_chunk": 0.1}, "first_chunk_timeout"),
        ("SilentOp(chunks=3)", {"first_chunk": 5, "idle": 0.1}, "idle_timeout"),
        ("TickOp()", {"first_chunk": 5, "idle": 5, "total": 0.2}, "total_timeout"),
    ],
)
@pytest.mark.parametrize("place", ["app", "flow"])
async def test_each_deadline_ends_the_run_with_a_code_of_its_own(
    op: str, deadlines: dict[str, float], code: str, place: str
) -> None:
    if place == "app":
        config = {**streamed(op), "deadlines": deadlines}
    else:
        config = {**streamed(op, deadlines=deadlines), "deadlines": {"idle": 9, "total": 9}}

    result = await run_until_end(config)

    assert result.state is RunState.FAILED
    assert isinstance(result.error, RunTimeoutError)
    assert result.chunks[-1].chunk_type is ChunkEnum.ERROR
    assert result.chunks[-1].metadata["code"] == code
    assert f"deadlines.{code.removesuffix('_timeout')}" in str(result.chunks[-1].chunk)


async def test_the_error_chunk_names_the_op_that_was_running() -> None:
    config = {**streamed("QuickOp() >> SilentOp()"), "deadlines": {"idle": 0.1}}

    result = await run_until_end(config)

    assert result.chunks[-1].metadata["op"] == "silent_op"


async def test_chunks_in_time_keep_a_run_alive_beyond_its_idle_deadline() -> None:
    config = {**streamed("TickOp()"), "deadlines": {"first_chunk": 1, "idle": 1}}
    with anyio.fail_after(10):
        async with app_of(config) as app, app.stream("f") as chunks:
            until = time.monotonic() + 1.5
            async for _ in chunks:
                if time.monotonic() > until:
                    break
            assert chunks.run.state is RunState.RUNNING


async def test_a_reader_that_is_slow_does_not_use_up_the_ops_time() -> None:
    config = {**streamed("TickOp()"), "deadlines": {"idle": 0.5}, "stream_buffer_chunks": 2}
    with anyio.fail_after(10):
        async with app_of(config) as app, app.stream("f") as chunks:
            await anext(chunks)
            await anyio.sleep(1.2)
            assert chunks.run.state is RunState.RUNNING
            for _ in range(5):
                await anext(chunks)
            assert chunks.run.blocked_seconds > 0.6


async def test_the_deadlines_for_chunks_are_not_for_flows_that_do_not_stream() -> None:
    class SlowOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await anyio.sleep(0.4)
            self.context.response.answer = "at last"

    async with FlowApp(
        {"deadlines": {"first_chunk": 0.1, "idle": 0.1}}, flows={"f": SlowOp()}
    ) as app:
        assert (await app.execute("f")).answer == "at last"


async def test_a_flow_that_does_not_stream_has_its_total_deadline() -> None:
    async with FlowApp({"deadlines": {"total": 0.1}}, flows={"f": SilentOp()}) as app:
        with (
            anyio.fail_after(5),
            pytest.raises(RunTimeoutError, match=r"did not end within 0\.1 s"),
        ):
            await app.execute("f")


async def test_a_deadline_may_be_lifted() -> None:
    limits = app_of(streamed("QuickOp()", deadlines={"idle": None})).config
    assert limits.flow["f"].deadlines.idle is None

    result = await run_until_end(
        {
            **streamed("TickOp()", deadlines={"first_chunk": None, "idle": None, "total": 0.3}),
            "deadlines": {"first_chunk": 0.001, "idle": 0.001},
        }
    )
    assert result.chunks[-1].metadata["code"] == "total_timeout"


@pytest.mark.parametrize("wrong", [0, -1, "soon", float("nan"), 1e12])
def test_a_deadline_is_a_sensible_number(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"deadlines\.idle"):
        FlowApp({"deadlines": {"idle": wrong}})


# --- ops that ignore their cancellation


async def test_an_op_that_ignores_its_cancellation_is_abandoned(log: Log) -> None:
    config = {**streamed("QuickOp() >> DeafOp()"), "deadlines": {"cleanup": 0.2}}
    go, ignored = anyio.Event(), []
    with anyio.fail_after(10):
        async with app_of(config) as app:
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
    config = {**streamed("DeafOp()"), "deadlines": {"cleanup": 0.1}}
    go = anyio.Event()
    with anyio.fail_after(10):
        async with app_of(config) as app:
            async with app.stream("f", go=go, ignored=[]) as chunks:
                while "is_deaf" not in chunks.run.data:
                    await anyio.sleep(0.01)
            go.set()
        assert chunks.run.chunks <= 1
        assert any("dropped what op 'deaf_op' emitted" in line for line in log())


async def test_a_run_whose_time_is_over_ends_also_where_its_op_does_not_care() -> None:
    config = {**streamed("DeafOp()"), "deadlines": {"total": 0.1, "cleanup": 0.1}}
    go = anyio.Event()
    with anyio.fail_after(10):
        async with app_of(config) as app:
            result = await collect(app, "f", go=go, ignored=[])
            go.set()

    assert [chunk.metadata["code"] for chunk in result.chunks] == ["total_timeout"]


# --- how many runs at once


async def test_no_more_runs_start_than_are_allowed() -> None:
    config = {**streamed("SilentOp()"), "max_concurrent_runs": 2}
    async with app_of(config) as app:
        first, second = app.start("f", {}), app.start("f", {})
        with pytest.raises(AppBusyError, match="max_concurrent_runs is 2"):
            app.start("f", {})
        first.cancel()
        with anyio.fail_after(5):
            await first.wait()
        third = app.start("f", {})

        assert set(app.runs.values()) == {second, third}


# --- the size of chunks


@pytest.mark.parametrize("text", ["abc", "aä", "😀", "\ud800x"])
@pytest.mark.parametrize("kind", ["answer", "think"])
async def test_a_text_that_is_too_long_is_split(text: str, kind: str) -> None:
    config = {
        **streamed(f"BigOp(kind={kind!r}, payload={text!r}, times=5000)"),
        "max_chunk_bytes": 1024,
    }

    result = await run_until_end(config)

    pieces = [str(chunk.chunk) for chunk in result.chunks]
    assert "".join(pieces) == (text * 5000).replace("\ud800", "\ufffd")
    assert all(len(piece.encode()) <= 1024 for piece in pieces)
    assert [chunk.metadata for chunk in result.chunks if chunk.metadata] == [
        {"finish_reason": "stop"}
    ]
    assert result.chunks[-1].metadata == {"finish_reason": "stop"}


async def test_a_text_that_is_too_long_is_split_wherever_it_stands() -> None:
    class GrowOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            for size in (1, 1024, 1025, 1):
                await emit(self, "x" * size)

    async with FlowApp({"max_chunk_bytes": 1024}, flows={"f": GrowOp()}) as app:
        result = await collect(app, "f")

    assert [len(str(chunk.chunk)) for chunk in result.chunks] == [1, 1024, 1024, 1, 1]


@pytest.mark.parametrize(
    ("kind", "payload"), [("tool", ["x"]), ("answer", ["x"]), ("usage", "x"), ("tool", "x")]
)
async def test_what_cannot_be_split_is_an_error_that_names_op_and_setting(
    kind: str, payload: Any
) -> None:
    config = {
        **streamed(f"BigOp(kind={kind!r}, payload={payload!r}, times=5000)"),
        "max_chunk_bytes": 1024,
    }

    result = await run_until_end(config)

    assert isinstance(result.error, ChunkError)
    assert "'big_op'" in str(result.error)
    assert "max_chunk_bytes is 1024" in str(result.error)


@pytest.mark.parametrize(("size", "fits"), [(900, True), (2000, False)])
async def test_metadata_counts_as_well_and_is_not_split(size: int, fits: bool) -> None:
    class NotedOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            chunk = FlowStreamChunk(chunk="x" * 1000, metadata={"note": "y" * size})
            await self.context.add_stream_chunk(chunk)

    async with FlowApp({"max_chunk_bytes": 1024}, flows={"f": NotedOp()}) as app:
        run = app.start("f", {})
        with anyio.fail_after(5):
            await run.wait()

        assert run.state is (RunState.DONE if fits else RunState.FAILED)
        assert run.queued_bytes == (1000 + size + len('{"note":""}') if fits else 0)


async def test_a_long_answer_of_an_op_that_does_not_stream_is_split_too() -> None:
    class LongOp(BaseOp):
        def execute(self) -> None:
            self.context.response.answer = "long" * 1000

    async with FlowApp({"max_chunk_bytes": 1024}, flows={"f": LongOp()}) as app:
        result = await collect(app, "f")

        assert result.text == "long" * 1000
        assert len(result.chunks) == 4
        assert (await app.execute("f")).answer == "long" * 1000


async def test_an_answer_without_end_is_not_gathered_for_ever() -> None:
    class FloodOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            while True:
                await emit(self, "x" * 1000)

    async with FlowApp({"max_answer_bytes": 100_000}, flows={"f": FloodOp()}) as app:
        with anyio.fail_after(10), pytest.raises(ChunkError, match="max_answer_bytes, 100000"):
            await app.execute("f")
        async with app.stream("f") as chunks:
            count = 0
            async for _ in chunks:
                count += 1
                if count == 1000:
                    break


# --- what callers see of errors


async def test_the_text_of_an_exception_may_be_kept_from_callers(log: Log) -> None:
    result = await run_until_end({**streamed("BrokenOp()"), "show_errors": False})

    error_id = result.chunks[-1].metadata["error_id"]
    assert "1234" not in str(result.chunks[-1])
    assert error_id in str(result.chunks[-1].chunk)
    assert any(error_id in line and "1234" in line for line in log())


async def test_errors_that_were_written_for_callers_are_shown_all_the_same() -> None:
    result = await run_until_end(
        {**streamed("SilentOp()"), "show_errors": False, "deadlines": {"total": 0.1}}
    )

    assert "did not end within 0.1 s" in str(result.chunks[-1].chunk)


# --- what a run tells of itself


async def test_callbacks_are_called_once_when_a_run_has_ended() -> None:
    ended: list[tuple[str, RunState]] = []

    def note(name: str) -> Callable[[Run], None]:
        return lambda run: ended.append((name, run.state))

    async with app_of(streamed("QuickOp()")) as app:
        run = app.start("f", {})
        run.add_done_callback(note("first"))
        run.add_done_callback(note("second"))
        with anyio.fail_after(5):
            await run.wait()
        run.add_done_callback(note("late"))

    assert ended == [(name, RunState.DONE) for name in ("first", "second", "late")]


async def test_a_run_counts_its_chunks_and_knows_its_times() -> None:
    async with app_of(streamed("QuickOp() >> QuickOp()")) as app:
        run = app.start("f", {})
        assert (run.chunks, run.first_chunk_at, run.ended_at) == (0, 0, 0)
        with anyio.fail_after(5):
            await run.wait()

        assert run.chunks == 2
        assert run.queued_bytes == len("quickquick")
        assert [chunk.chunk for chunk in run.receive_ready()] == ["quick", "quick"]
        assert run.queued_bytes == 0
        assert 0 < run.started_at <= run.first_chunk_at <= run.ended_at


async def test_a_run_that_others_cancel_ends_with_an_error_chunk_after_what_was_emitted() -> None:
    async with app_of(streamed("SilentOp(chunks=2)")) as app:
        run = app.start("f", {})
        with anyio.fail_after(5):
            await run.receive()
            run.cancel("api")
            await run.wait()
            last = await run.receive()

            assert [chunk.metadata for chunk in last] == [{"code": "cancelled", "reason": "api"}]
            assert await run.receive() == []


# --- ops that ignore a cancellation, in all the places where an op can be


async def be_deaf(op: Any) -> None:
    go: anyio.Event = op.context["go"]
    while not go.is_set():
        op.context.is_deaf = True
        try:
            await go.wait()
        except BaseException:
            op.context["ignored"].append(time.monotonic())


class DeafSyncOp(BaseOp):
    def execute(self) -> None:
        self.run_async(be_deaf, self)


class HostOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await self.ops["deaf_op"].async_call()
        self.context["went_on"].append("host")


class FailSoonOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError("no luck")


class NextOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        self.context["went_on"].append("next")


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


# --- what becomes of a run whose client has left


@pytest.mark.parametrize(
    "wrong", ["keep", 5, True, {"grace": 0}, {"grace": "x"}, {"grce": 3}, {}, None]
)
def test_a_wrong_on_disconnect_is_told_in_one_line_with_what_to_write(wrong: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        app_of(streamed("QuickOp()", on_disconnect=wrong))

    assert "'flow.f.on_disconnect': write `cancel`, or `{grace: SECONDS}`" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_closing_names_the_op_that_it_waits_for(log: Log) -> None:
    config = {**streamed("DeafOp()"), "deadlines": {"cleanup": 0.1}}
    go = anyio.Event()
    app = app_of(config)
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
