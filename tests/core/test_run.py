from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flowcore import (
    BackendError,
    BaseAsyncOp,
    BaseOp,
    ChunkEnum,
    ChunkError,
    ChunkStream,
    FlowApp,
    FlowStreamChunk,
    Op,
    Run,
    RunCancelledError,
    RunFailedError,
    RunState,
)
from flowcore.testing import Pause, ScriptedError, ScriptedLLM, collect, run_op, scripted_llm

Log = Callable[[], list[str]]


async def emit(op: Any, text: str) -> None:
    await op.context.add_stream_chunk(FlowStreamChunk(chunk=text))


class TalkOp(BaseAsyncOp):
    text: str = "talk"

    async def async_execute(self) -> None:
        await emit(self, self.text)


class BrokenOp(BaseAsyncOp):
    """Emits, raises in between, and would emit more."""

    before: int = 0

    async def async_execute(self) -> None:
        for number in range(self.before):
            await emit(self, str(number))
        raise ValueError("the disk is on fire")


class ForeverOp(BaseAsyncOp):
    """Emits for ever; counts what it emitted and how often it was cleaned up."""

    def __init__(self, counts: dict[str, int], size: int = 10) -> None:
        super().__init__()
        self.counts = Shared(counts)
        self.size = size

    async def async_execute(self) -> None:
        try:
            while True:
                await emit(self, "x" * self.size)
                self.counts.add("emitted")
        finally:
            self.counts.add("cleaned")


class Shared:
    """Keeps a dict of the test's from being copied for each run."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts

    def add(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1


def kinds(chunks: list[FlowStreamChunk]) -> list[str]:
    return [str(chunk.chunk_type) for chunk in chunks]


async def read(chunks: ChunkStream, kinds: list[str]) -> None:
    async for chunk in chunks:
        kinds.append(str(chunk.chunk_type))  # noqa: PERF401 - kept, whatever comes after


# --- endings


async def test_a_run_that_comes_to_its_end_is_done_without_an_error_chunk() -> None:
    result = await run_op(TalkOp())

    assert result.state is RunState.DONE
    assert kinds(result.chunks) == ["answer"]


@pytest.mark.parametrize("before", [0, 1, 5])
async def test_a_failure_is_exactly_one_error_chunk_and_the_last(before: int) -> None:
    async with FlowApp({}, flows={"f": BrokenOp(before=before)}) as app:
        result = await collect(app, "f")

    assert kinds(result.chunks) == ["answer"] * before + ["error"]
    assert result.chunks[-1].chunk == "ValueError: the disk is on fire"
    assert result.chunks[-1].metadata["code"] == "op_failed"
    assert result.chunks[-1].metadata["op"] == "broken_op"
    assert len(result.chunks[-1].metadata["error_id"]) == 12
    assert result.state is RunState.FAILED


async def test_the_error_id_joins_the_chunk_and_the_log(log: Log) -> None:
    async with FlowApp({}, flows={"f": BrokenOp()}) as app:
        result = await collect(app, "f")

    assert any(result.chunks[-1].metadata["error_id"] in line for line in log())


async def test_an_error_that_is_passed_on_has_an_id_of_its_own_and_that_of_its_cause(
    log: Log,
) -> None:
    class PassOnOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            told = {"code": "op_failed", "error_id": "there"}
            chunk = FlowStreamChunk(chunk_type=ChunkEnum.ERROR, chunk="no tea", metadata=told)
            await self.context.add_stream_chunk(chunk)

    async with FlowApp({}, flows={"f": PassOnOp()}) as app:
        metadata = (await collect(app, "f")).chunks[-1].metadata

    assert metadata["cause_id"] == "there"
    assert any(metadata["error_id"] in line for line in log())


@pytest.mark.parametrize("place", ["first", "last"])
async def test_a_failure_in_one_of_several_branches_is_one_error_chunk_after_all_others(
    place: str,
) -> None:
    counts: dict[str, int] = {}
    broken, forever = BrokenOp(before=2), ForeverOp(counts)
    op = broken | forever | forever if place == "first" else forever | forever | broken

    async with FlowApp({}, flows={"f": op}) as app:
        with anyio.fail_after(5):
            result = await collect(app, "f")

    assert kinds(result.chunks).count("error") == 1
    assert result.chunks[-1].chunk_type is ChunkEnum.ERROR
    assert counts["cleaned"] == 2


async def test_two_branches_that_fail_at_once_are_one_error_chunk() -> None:
    async with FlowApp({}, flows={"f": BrokenOp() | BrokenOp() | BrokenOp()}) as app:
        result = await collect(app, "f")

    assert kinds(result.chunks) == ["error"]


async def test_other_runs_notice_nothing_of_a_failure() -> None:
    class WaitOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await emit(self, "1")
            await self.context.go.wait()
            await emit(self, "2")

    go = anyio.Event()
    async with FlowApp({}, flows={"good": WaitOp(), "bad": BrokenOp(before=1)}) as app:
        with anyio.fail_after(5):
            async with app.stream("good", go=go) as chunks:
                assert (await anext(chunks)).chunk == "1"
                for _ in range(5):
                    assert (await collect(app, "bad")).state is RunState.FAILED
                go.set()
                assert [chunk.chunk async for chunk in chunks] == ["2"]


async def test_the_reader_gets_the_error_chunk_and_then_the_ops_own_exception() -> None:
    got: list[str] = []

    async with FlowApp({}, flows={"f": BrokenOp(before=1)}) as app, app.stream("f") as chunks:
        with pytest.raises(ValueError, match="on fire") as caught:
            await read(chunks, got)

    assert got == ["answer", "error"]
    assert caught.value.__notes__ == ["in flow 'f', op 'broken_op'"]


async def test_execute_raises_the_ops_own_exception() -> None:
    async with FlowApp({}, flows={"f": BrokenOp(before=1)}) as app:
        with pytest.raises(ValueError, match="on fire") as caught:
            await app.execute("f")

    assert caught.value.__notes__ == ["in flow 'f', op 'broken_op'"]


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (ValueError("bad"), "ValueError: bad", "op_failed"),
        (ValueError(), "ValueError", "op_failed"),
        (KeyError("k"), "KeyError: 'k'", "op_failed"),
        (ValueError("  \n"), "ValueError", "op_failed"),
        (BackendError("slow", code="upstream_timeout"), "slow", "upstream_timeout"),
        (RunFailedError("said so"), "said so", "run_failed"),
        (SystemExit(3), "an op raised SystemExit: 3", "run_failed"),
        (StopAsyncIteration(), "an op raised StopAsyncIteration", "run_failed"),
    ],
    ids=repr,
)
async def test_the_error_chunk_has_a_text_and_a_code(
    error: BaseException, text: str, code: str
) -> None:
    class RaiseOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            raise error

    async with FlowApp({}, flows={"f": RaiseOp()}) as app:
        result = await collect(app, "f")
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is, it is not lost
            await app.execute("f")

    assert [(chunk.chunk, chunk.metadata["code"]) for chunk in result.chunks] == [(text, code)]


# --- error and done chunks


async def test_an_error_chunk_of_an_op_ends_the_run_as_failed() -> None:
    class SayErrorOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await emit(self, "before")
            await self.context.add_stream_chunk(
                FlowStreamChunk(
                    chunk_type=ChunkEnum.ERROR, chunk="no luck", metadata={"code": "x", "n": 1}
                )
            )
            await emit(self, "after")

    async with FlowApp({}, flows={"f": SayErrorOp()}) as app:
        result = await collect(app, "f")

    assert [chunk.chunk for chunk in result.chunks] == ["before", "no luck"]
    assert result.chunks[-1].metadata["code"] == "x"
    assert result.chunks[-1].metadata["n"] == 1
    assert isinstance(result.error, RunFailedError)


@pytest.mark.parametrize("payload", ["", {"why": "x"}, ["x"], {}])
async def test_an_error_chunk_always_has_a_text(payload: Any) -> None:
    class SayErrorOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.add_stream_chunk(
                FlowStreamChunk(chunk_type=ChunkEnum.ERROR, chunk=payload)
            )

    async with FlowApp({}, flows={"f": SayErrorOp()}) as app:
        result = await collect(app, "f")

    assert isinstance(result.chunks[-1].chunk, str)
    assert result.chunks[-1].chunk


async def test_a_done_chunk_ends_the_stream_and_what_follows_is_dropped_with_a_log(
    log: Log,
) -> None:
    class DoneOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await emit(self, "a")
            await self.context.add_stream_chunk(
                FlowStreamChunk(chunk_type=ChunkEnum.DONE, done=True)
            )
            await emit(self, "b")
            await emit(self, "c")
            self.context.response.metadata["went"] = "on"

    result = await run_op(DoneOp(name="early"))

    assert [chunk.chunk for chunk in result.chunks] == ["a"]
    assert result.response.metadata == {"went": "on"}
    dropped = [line for line in log() if "dropped what op 'early' emitted" in line]
    assert len(dropped) == 1
    assert "after the done chunk of op 'early'" in dropped[0]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_is_emitted_after_the_end_of_the_run_is_dropped_with_a_log(log: Log) -> None:
    tasks: list[asyncio.Task[None]] = []
    go = asyncio.Event()

    class LeakOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            tasks.append(asyncio.create_task(self.later()))
            await emit(self, "in time")

        async def later(self) -> None:
            await go.wait()
            await emit(self, "late")
            await emit(self, "later")

    async with FlowApp({}, flows={"f": LeakOp(name="leaky")}) as app:
        result = await collect(app, "f")
        go.set()
        await tasks[0]

    assert result.text == "in time"
    run = f"run {result.chunks[0].flow_id}"
    assert [line for line in log() if "dropped" in line] == [
        f"WARNING {run}: dropped what op 'leaky' emitted after the end of the run"
    ]


# --- payloads


@pytest.mark.parametrize(
    "payload",
    [{"a": object()}, {"a": {1: object()}}, [object()], {"a": b"\xff\xfe"}],
    ids=["an object", "an object deeper", "an object in a list", "bytes that are no text"],
)
@pytest.mark.parametrize("where", ["chunk", "metadata"])
async def test_what_has_no_json_form_is_an_error_that_names_the_op(
    payload: Any, where: str
) -> None:
    fields = {"chunk": payload} if where == "chunk" else {"metadata": {"payload": payload}}

    class OddOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            chunk = FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk={"ok": 1})
            await self.context.add_stream_chunk(chunk.model_copy(update=fields))

    async with FlowApp({}, flows={"f": OddOp(name="odd")}) as app:
        result = await collect(app, "f")

    assert kinds(result.chunks) == ["error"]
    assert isinstance(result.error, ChunkError)
    assert "op 'odd' emitted" in str(result.chunks[0].chunk)
    assert result.chunks[0].model_dump_json()


async def test_metadata_of_an_error_chunk_always_have_a_json_form() -> None:
    class SayErrorOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.add_stream_chunk(
                FlowStreamChunk(chunk_type=ChunkEnum.ERROR, chunk="x", metadata={"a": object()})
            )

    async with FlowApp({}, flows={"f": SayErrorOp()}) as app:
        result = await collect(app, "f")

    assert result.chunks[0].model_dump_json()
    assert "a" in result.chunks[0].metadata


@pytest.mark.parametrize("field", ["answer", "metadata"])
async def test_a_response_without_json_form_fails_the_run_also_after_it_has_streamed(
    field: str,
) -> None:
    class OddOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await emit(self, "streamed")
            setattr(self.context.response, field, {"x": object()})

    async with FlowApp({}, flows={"f": OddOp()}) as app:
        result = await collect(app, "f")

    assert kinds(result.chunks) == ["answer", "error"]
    assert isinstance(result.error, ChunkError)


async def test_a_run_may_be_ended_as_failed_from_outside() -> None:
    counts: dict[str, int] = {}

    async with FlowApp({}, flows={"f": ForeverOp(counts)}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                await chunks.run.receive()
                chunks.run.fail(RunFailedError("shutting down"))
                got: list[FlowStreamChunk] = []
                while batch := await chunks.run.receive():
                    got += batch

    assert kinds(got).count("error") == 1
    assert got[-1].chunk == "shutting down"
    assert chunks.run.state is RunState.FAILED
    assert counts["cleaned"] == 1


@pytest.mark.parametrize("payload", ["a\ud83d", {"k": ["a\ud83d"]}])
async def test_a_lone_surrogate_does_not_end_the_stream(payload: Any) -> None:
    class HalfOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.add_stream_chunk(
                FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk=payload)
            )

    result = await run_op(HalfOp())

    assert "a\ufffd" in str(result.chunks[0].chunk)
    assert result.chunks[0].model_dump_json()


async def test_a_text_in_place_of_a_chunk_is_refused_with_the_remedy() -> None:
    class TextOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            wrong: Any = "text"
            await self.context.add_stream_chunk(wrong)

    with pytest.raises(ChunkError, match=r"use context.add_stream_text\("):
        await run_op(TextOp())


async def test_not_a_number_reaches_the_reader_as_text() -> None:
    class NumberOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.add_stream_chunk(
                FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk={"n": [math.nan, math.inf]})
            )

    result = await run_op(NumberOp())

    assert result.chunks[0].chunk == {"n": ["NaN", "Infinity"]}


@pytest.mark.parametrize(
    "text", ["\n", "\r\n", "\0", "\x1b[31m", "\x85\u2028\u2029\ufeff", "data:[DONE]", " ", "😀"]
)
async def test_texts_pass_unchanged(text: str) -> None:
    assert (await run_op(TalkOp(text=text))).text == text


# --- the answer


async def test_the_answer_of_an_op_that_streams_nothing_is_its_one_chunk() -> None:
    class AnswerOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.answer = "42"
            self.context.response.metadata["unit"] = "none"

    result = await run_op(AnswerOp())

    assert [(c.chunk_type, c.chunk, c.metadata) for c in result.chunks] == [
        (ChunkEnum.ANSWER, "42", {"unit": "none"})
    ]


async def test_the_answer_is_not_repeated_after_it_was_streamed() -> None:
    class BothOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await emit(self, "4")
            await emit(self, "2")
            self.context.response.answer = "42"

    result = await run_op(BothOp())

    assert [chunk.chunk for chunk in result.chunks] == ["4", "2"]
    assert result.response.answer == "42"


async def test_the_answer_of_a_streaming_flow_is_what_it_streamed() -> None:
    class MixedOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.add_stream_chunk(
                FlowStreamChunk(chunk_type=ChunkEnum.THINK, chunk="hmm")
            )
            await emit(self, "Hello ")
            await emit(self, "Bob")

    async with FlowApp({}, flows={"f": MixedOp()}) as app:
        assert (await app.execute("f")).answer == "Hello Bob"


async def test_an_answer_without_json_form_fails_the_run() -> None:
    class OddOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.answer = {"x": object()}

    async with FlowApp({}, flows={"f": OddOp()}) as app:
        with pytest.raises(ChunkError):
            await app.execute("f")


# --- the reader leaves


@pytest.mark.parametrize("read", [0, 1, 3])
async def test_the_op_is_cancelled_when_the_reader_leaves_and_cleaned_up_once(read: int) -> None:
    counts: dict[str, int] = {}

    async with FlowApp({}, flows={"f": ForeverOp(counts)}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                await anyio.wait_all_tasks_blocked()
                for _ in range(read):
                    await anext(chunks)
            assert counts["cleaned"] == 1
            assert chunks.run.state is RunState.CANCELLED
            assert chunks.run.cancel_reason == "caller"
            assert app.runs == {}


async def test_a_reader_that_leaves_at_once_starts_no_work() -> None:
    counts: dict[str, int] = {}

    async with FlowApp({}, flows={"f": ForeverOp(counts)}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                pass

    assert chunks.run.state is RunState.CANCELLED
    assert counts.get("emitted", 0) == 0


async def test_an_exception_in_the_readers_block_passes_unwrapped_and_cancels_the_op() -> None:
    counts: dict[str, int] = {}

    async def read_one() -> None:
        async with FlowApp({}, flows={"f": ForeverOp(counts)}) as app, app.stream("f") as chunks:
            await anext(chunks)
            raise LookupError("mine")

    with anyio.fail_after(5), pytest.raises(LookupError, match="mine"):
        await read_one()

    assert counts["cleaned"] == 1


async def test_a_cancelled_reader_cancels_the_op() -> None:
    counts: dict[str, int] = {}

    async with FlowApp({}, flows={"f": ForeverOp(counts)}) as app:
        with anyio.fail_after(5):
            with anyio.move_on_after(0.01) as scope:
                await app.execute("f")
            assert scope.cancelled_caught
            assert counts["cleaned"] == 1
            assert app.runs == {}


async def test_whoever_waits_for_a_run_that_others_cancel_learns_of_it() -> None:
    async with FlowApp({}, flows={"f": ForeverOp({})}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                await anext(chunks)
                chunks.run.cancel("operator")
                chunks.run.cancel("somebody else")
                with pytest.raises(RunCancelledError, match="was cancelled"):
                    async for _ in chunks:
                        pass
            assert chunks.run.cancel_reason == "operator"


async def test_all_branches_and_sub_ops_are_cleaned_up_when_the_reader_leaves() -> None:
    counts: dict[str, int] = {}

    class HostOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            try:
                await self.ops.child.async_call()
            finally:
                Shared(counts).add("host")

    op = ForeverOp(counts) | (HostOp() << {"child": ForeverOp(counts)}) | ForeverOp(counts)
    async with FlowApp({}, flows={"f": op}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                await anext(chunks)

    assert (counts["cleaned"], counts["host"]) == (3, 1)


async def test_cleanup_may_await_in_a_shield() -> None:
    cleaned: list[str] = []

    class CarefulOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await checkpoint()
                    await anyio.sleep(0.001)
                    cleaned.append("all")

    async with FlowApp({}, flows={"f": CarefulOp()}) as app:
        async with app.stream("f"):
            await anyio.wait_all_tasks_blocked()
        assert cleaned == ["all"]


async def test_the_reader_does_not_wait_for_ever_for_a_cleanup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowcore.stream.CANCEL_TIMEOUT", 0.02)
    go = anyio.Event()

    class StuckOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await go.wait()

    async with FlowApp({}, flows={"f": StuckOp()}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                await anyio.wait_all_tasks_blocked()
            assert chunks.run.state is RunState.RUNNING
            go.set()
            await chunks.run.wait()
    assert chunks.run.state is RunState.CANCELLED


# --- streams of LLMs


class RelayOp(BaseAsyncOp):
    """Passes on what its LLM streams, up to a number of chunks."""

    limit: int = 1000

    async def async_execute(self) -> None:
        number = 0
        async for chunk in self.llm.astream_chat([]):
            if number == self.limit:
                break
            number += 1
            await self.context.add_stream_chunk(chunk)


LONG = ["x" * 100] * 1000


async def test_an_llm_stream_is_closed_when_the_op_is_cancelled_while_the_model_thinks() -> None:
    llm = scripted_llm(["a", Pause(pause=1000)])

    async with FlowApp({}, flows={"f": RelayOp(llm=llm)}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                await anext(chunks)
                assert llm.open_streams == 1
            assert llm.open_streams == 0


@pytest.mark.parametrize("config", [{"stream_buffer_chunks": 3}, {"stream_buffer_bytes": 250}])
async def test_an_llm_stream_is_closed_when_the_op_is_cancelled_while_it_waits_for_its_reader(
    config: dict[str, Any],
) -> None:
    llm = scripted_llm(LONG)

    async with FlowApp(config, flows={"f": RelayOp(llm=llm)}) as app:
        with anyio.fail_after(5):
            async with app.stream("f"):
                await anyio.wait_all_tasks_blocked()
                assert llm.open_streams == 1
            assert llm.open_streams == 0


async def test_an_llm_stream_is_closed_when_the_op_breaks_out_of_its_loop() -> None:
    llm = scripted_llm(LONG)

    class CheckOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            assert llm.open_streams == 0
            await emit(self, "checked")

    result = await run_op(RelayOp(llm=llm, limit=2) >> CheckOp())

    assert [chunk.chunk for chunk in result.chunks][-1] == "checked"


async def test_an_llm_stream_is_closed_when_the_op_raises_in_its_loop() -> None:
    llm = scripted_llm(LONG)

    class RaiseOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            async for _ in self.llm.astream_chat([]):
                raise ValueError("enough")

    async with FlowApp({}, flows={"f": RaiseOp(llm=llm)}) as app:
        await collect(app, "f")
        assert llm.open_streams == 0


async def test_an_llm_stream_that_fails_in_the_middle_is_an_error_after_its_text() -> None:
    llm = scripted_llm(["a", ScriptedError(error="the line is dead", code="upstream_reset")])

    async with FlowApp({}, flows={"f": RelayOp(llm=llm, max_retries=3)}) as app:
        result = await collect(app, "f")

    assert [chunk.chunk for chunk in result.chunks] == ["a", "the line is dead"]
    assert result.chunks[-1].metadata["code"] == "upstream_reset"
    assert (len(llm.calls), llm.open_streams) == (1, 0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_llm_call_of_a_sync_op_is_stopped_when_the_reader_leaves() -> None:
    llm = scripted_llm(["a", Pause(pause=1000)])

    class AskOp(BaseOp):
        def execute(self) -> None:
            self.llm.chat([])

    async with FlowApp({}, flows={"f": AskOp(llm=llm)}) as app:
        with anyio.fail_after(5):
            async with app.stream("f"):
                while not llm.open_streams:
                    await anyio.sleep(0.001)
            while llm.open_streams:
                await anyio.sleep(0.001)


async def test_a_stream_that_does_not_close_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowcore.llm.CLOSE_TIMEOUT", 0.02)

    class StuckLLM(ScriptedLLM):
        async def astream_chat(
            self, messages: Any, tools: Any = None, **params: Any
        ) -> AsyncGenerator[FlowStreamChunk, None]:
            try:
                yield FlowStreamChunk(chunk="a")
            finally:
                with anyio.move_on_after(1000):
                    await anyio.sleep_forever()

    llm = StuckLLM(scripted_llm().settings)
    with anyio.fail_after(5):
        assert (await run_op(RelayOp(llm=llm, limit=0))).state is RunState.DONE


# --- the slow reader


@pytest.mark.parametrize(
    ("config", "size", "most"),
    [
        ({"stream_buffer_chunks": 8}, 1, 8),
        ({"stream_buffer_bytes": 1000}, 100, 10),
        ({"stream_buffer_bytes": 1000}, 5000, 1),
        ({}, 1, 256),
        ({}, 64 * 1024, 16),
    ],
)
async def test_a_reader_that_stops_suspends_the_op(
    config: dict[str, Any], size: int, most: int
) -> None:
    counts: dict[str, int] = {}

    async with FlowApp(config, flows={"f": ForeverOp(counts, size)}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                await anyio.wait_all_tasks_blocked()
                assert counts["emitted"] == most

                await chunks.run.receive()
                await anyio.wait_all_tasks_blocked()
                assert most < counts["emitted"] <= 2 * most + 1


async def test_bytes_are_counted_in_utf_8_and_with_the_metadata() -> None:
    counts: dict[str, int] = {}

    class ChineseOp(ForeverOp):
        async def async_execute(self) -> None:
            chunk = FlowStreamChunk(chunk="中" * 10, metadata={"k": "v" * 62})
            while True:
                await self.context.add_stream_chunk(chunk)
                self.counts.add("emitted")

    app = FlowApp({"stream_buffer_bytes": 1000}, flows={"f": ChineseOp(counts)})
    async with app, app.stream("f"):
        await anyio.wait_all_tasks_blocked()

    assert counts["emitted"] == 10  # of 30 bytes of text and 70 of metadata


async def test_nothing_is_lost_and_the_order_kept_when_the_reader_is_slow() -> None:
    class CountOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            for number in range(500):
                await emit(self, f"{number} ")

    config = {"stream_buffer_chunks": 3, "stream_buffer_bytes": 7}
    async with FlowApp(config, flows={"f": CountOp()}) as app, app.stream("f") as chunks:
        got: list[str] = []
        async for chunk in chunks:
            if len(got) % 200 == 0:
                await anyio.wait_all_tasks_blocked()
            got.append(str(chunk.chunk))

    assert got == [f"{number} " for number in range(500)]


# --- 200 streams


async def test_200_streams_of_one_flow_run_at_once_and_stay_apart() -> None:
    """All wait for each other in the middle, then go on: nobody gets another's chunks."""
    here = 0
    all_here = anyio.Event()

    class MeetOp(BaseAsyncOp):
        def __init__(self) -> None:
            super().__init__()
            self.sent: list[str] = []

        async def say(self, text: str) -> None:
            self.sent.append(text)
            await emit(self, text)

        async def async_execute(self) -> None:
            nonlocal here
            self.number = self.context.number
            await self.say(f"hello {self.number}")
            here += 1
            if here == 200:
                all_here.set()
            await all_here.wait()
            await self.say(f"bye {self.number}")
            assert self.sent == [f"hello {self.number}", f"bye {self.number}"]
            self.context.response.metadata["sent"] = self.sent

    got: dict[int, list[FlowStreamChunk]] = {}

    async def read(app: FlowApp, number: int) -> None:
        async with app.stream("f", number=number) as chunks:
            got[number] = [chunk async for chunk in chunks]

    async with FlowApp({}, flows={"f": MeetOp()}) as app:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for number in range(200):
                    group.start_soon(read, app, number)

    assert len({chunk.flow_id for chunks in got.values() for chunk in chunks}) == 200
    for number, chunks in got.items():
        assert [chunk.chunk for chunk in chunks] == [f"hello {number}", f"bye {number}"]
        assert len({chunk.flow_id for chunk in chunks}) == 1


async def test_a_run_leaves_running_exactly_once_and_tells_observers_of_it() -> None:
    from flowcore import hookimpl

    class Watch:
        def __init__(self) -> None:
            self.finished: list[tuple[str, RunState]] = []

        @hookimpl
        def flowcore_run_finished(self, run: Run) -> None:
            self.finished.append((run.flow, run.state))

    watch = Watch()
    flows: dict[str, Op] = {"done": TalkOp(), "failed": BrokenOp(), "cancelled": ForeverOp({})}
    async with FlowApp({}, flows=flows, plugins=[watch]) as app:
        for name in flows:
            async with app.stream(name) as chunks:
                await chunks.run.receive()

    assert watch.finished == [
        ("done", RunState.DONE),
        ("failed", RunState.FAILED),
        ("cancelled", RunState.CANCELLED),
    ]


# --- values that are lost


class ReturningOp(BaseAsyncOp):
    answers: bool = False

    async def async_execute(self) -> str:
        if self.answers:
            self.context.response.answer = "hello"
        return "hello"


class ReturningSyncOp(BaseOp):
    def execute(self) -> str:
        return "hello"


@pytest.mark.parametrize("op", [ReturningOp, ReturningSyncOp])
async def test_a_value_that_is_returned_and_makes_no_answer_is_told_once(
    op: type[BaseAsyncOp | BaseOp], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="flowcore")
    flow = f"lost_{op.__name__}_{uuid.uuid4().hex}"
    async with FlowApp({}, flows={flow: op()}) as app:
        for _ in range(2):
            assert (await app.execute(flow)).answer == ""

    (record,) = caplog.records
    assert record.getMessage().startswith(f"flow {flow!r} has no answer, though op 'returning_")
    assert "self.context.response.answer = …" in record.getMessage()


async def test_a_value_that_is_returned_beside_an_answer_is_no_matter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FlowApp({}, flows={"say": ReturningOp(answers=True)}) as app:
        assert (await app.execute("say")).answer == "hello"

    assert caplog.records == []
