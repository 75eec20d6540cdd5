from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

from flowcore import (
    BaseAsyncOp,
    ChunkEnum,
    FlowApp,
    FlowStreamChunk,
    Op,
    Registrar,
    RunState,
    RunTimeoutError,
    hookimpl,
)
from flowcore.testing import RunResult, collect


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


class QuickOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await emit(self, "quick")


def streamed(op: str, **keys: Any) -> dict[str, Any]:
    return {"flow": {"f": {"flow_content": op, "stream": True, **keys}}}


class OpsPlugin:
    @hookimpl
    def flowcore_register_ops(self, ops: Registrar[Op]) -> None:
        for op in (SilentOp, TickOp, QuickOp):
            ops.add(op)


def app_of(config: dict[str, Any]) -> FlowApp:
    return FlowApp(config, plugins=[OpsPlugin()])


async def run_until_end(config: dict[str, Any]) -> RunResult:
    with anyio.fail_after(10):
        async with app_of(config) as app:
            return await collect(app, "f")


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
