from __future__ import annotations

import pytest

import flowcore.testing
from flowcore import BackendError, BaseAsyncOp, ChunkEnum, FlowApp, FlowStreamChunk, RunState
from flowcore.testing import Pause, ScriptedError, collect, run_op, scripted_llm


class RelayOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        async for chunk in self.llm.astream_chat([]):
            await self.context.add_stream_chunk(chunk)


async def test_a_scripted_llm_streams_its_replies_in_turn_each_with_its_usage() -> None:
    llm = scripted_llm(["a", Pause(pause=0), "b"], ["c"])

    texts = [(await run_op(RelayOp(llm=llm))).text for _ in range(3)]

    assert texts == ["ab", "c", "ab"]
    assert len(llm.calls) == 3


async def test_without_a_script_it_has_one_answer() -> None:
    result = await run_op(RelayOp(llm=scripted_llm()))

    assert result.text == "scripted answer"
    assert result.chunks[-1].chunk_type is ChunkEnum.USAGE


async def test_a_scripted_failure_is_a_backend_error() -> None:
    with pytest.raises(BackendError, match="no luck") as caught:
        await run_op(RelayOp(llm=scripted_llm([ScriptedError(error="no luck")])))

    assert caught.value.code == "scripted_error"


async def test_the_test_kit_is_a_plugin_with_the_backend_scripted() -> None:
    think = {"chunk_type": "think", "chunk": "hm"}
    entry = {"backend": "scripted", "replies": [["a", {"pause": 0}, think], [{"error": "no"}]]}
    config = {"llm": {"default": entry}, "imports": ["flowcore.testing"]}

    async with FlowApp(config, flows={"f": RelayOp()}, plugins=[flowcore.testing]) as app:
        first, second = await collect(app, "f"), await collect(app, "f")

    assert (first.text, first.texts(ChunkEnum.THINK)) == ("a", ["hm"])
    assert first.texts() == ["a"]
    assert (first.state, first.error) == (RunState.DONE, None)
    assert (second.state, second.texts(ChunkEnum.ERROR)) == (RunState.FAILED, ["no"])


async def test_collect_keeps_a_failure_and_run_op_raises_it() -> None:
    class FailOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="a"))
            raise LookupError("mine")

    async with FlowApp({}, flows={"f": FailOp()}) as app:
        result = await collect(app, "f")
    assert isinstance(result.error, LookupError)
    assert result.texts(ChunkEnum.ERROR) == ["LookupError: mine"]

    with pytest.raises(LookupError, match="mine"):
        await run_op(FailOp())


async def test_run_op_takes_a_config_and_inputs() -> None:
    class AskOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.answer = [self.llm.model_name, self.context.query]

    config = {
        "llm": {"default": {"backend": "scripted", "model_name": "m"}},
        "imports": ["flowcore.testing"],
    }

    assert (await run_op(AskOp(), config, query="q")).response.answer == ["m", "q"]


def test_everything_public_is_listed() -> None:
    assert sorted(flowcore.testing.__all__) == flowcore.testing.__all__
    assert all(hasattr(flowcore.testing, name) for name in flowcore.testing.__all__)
