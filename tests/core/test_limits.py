from __future__ import annotations

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


def streamed(op: str, **keys: Any) -> dict[str, Any]:
    return {"flow": {"f": {"flow_content": op, "stream": True, **keys}}}


class OpsPlugin:
    @hookimpl
    def flowcore_register_ops(self, ops: Registrar[Op]) -> None:
        for op in (SilentOp, BigOp, QuickOp, BrokenOp):
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


@pytest.mark.parametrize("wrong", [0, -1, "soon", float("nan"), 1e12])
def test_a_deadline_is_a_sensible_number(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"deadlines\.idle"):
        FlowApp({"deadlines": {"idle": wrong}})


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


# --- what becomes of a run whose client has left


@pytest.mark.parametrize(
    "wrong", ["keep", 5, True, {"grace": 0}, {"grace": "x"}, {"grce": 3}, {}, None]
)
def test_a_wrong_on_disconnect_is_told_in_one_line_with_what_to_write(wrong: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        app_of(streamed("QuickOp()", on_disconnect=wrong))

    assert "'flow.f.on_disconnect': write `cancel`, or `{grace: SECONDS}`" in str(caught.value)
    assert "\n" not in str(caught.value)
