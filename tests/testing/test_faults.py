from __future__ import annotations

from typing import Any

import anyio
import pytest
from pydantic import ValidationError

import flowcore.testing
from flowcore import (
    BackendError,
    BaseAsyncOp,
    BaseLLM,
    ChunkEnum,
    Flow,
    FlowApp,
    FlowDeadlines,
    Message,
    RunState,
)
from flowcore.testing import (
    Cut,
    Fail,
    Fault,
    Pause,
    ScriptedSettings,
    Slow,
    Stall,
    collect,
    faulty,
    run_op,
    scripted_llm,
)


class RelayOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        async for chunk in self.llm.astream_chat([]):
            await self.context.add_stream_chunk(chunk)


async def streamed(llm: BaseLLM) -> tuple[str, BackendError | None]:
    text = ""
    try:
        async for chunk in llm.astream_chat([Message(content="q")]):
            text += str(chunk.chunk) if chunk.chunk_type is ChunkEnum.ANSWER else "|"
    except BackendError as error:
        return text, error
    return text, None


@pytest.mark.parametrize(
    ("fault", "text", "code"),
    [
        (Cut(), "", "upstream_truncated"),
        (Cut(after=1), "a", "upstream_truncated"),
        (Cut(after=2, code="upstream_reset"), "ab", "upstream_reset"),
        (Cut(after=3), "ab|", "upstream_truncated"),
        (Cut(after=99), "ab|", "upstream_truncated"),
        (Fail(), "", "upstream_error"),
        (Fail(after=1, code="upstream_auth"), "a", "upstream_auth"),
    ],
)
async def test_a_stream_fails_after_so_many_chunks(fault: Fault, text: str, code: str) -> None:
    got, error = await streamed(scripted_llm(["a", "b"], faults=[fault]))

    assert got == text
    assert error is not None
    assert error.code == code


async def test_a_failure_has_what_a_real_one_has() -> None:
    fault = Fail(message="slow down", code="upstream_rate_limited", status=429, retry_after=2.5)

    _, error = await streamed(scripted_llm(faults=[fault]))

    assert error is not None
    assert (str(error), error.status, error.retry_after) == ("slow down", 429, 2.5)


async def test_a_fault_strikes_the_calls_that_it_names() -> None:
    llm = scripted_llm(["a"], faults=[Fail(calls=(1, 3))])

    errors = [(await streamed(llm))[1] for _ in range(4)]

    assert [error is not None for error in errors] == [True, False, True, False]


async def test_an_op_is_tried_again_where_the_first_call_failed() -> None:
    llm = scripted_llm(["a"], faults=[Fail(calls=(1,))])

    assert (await run_op(RelayOp(llm=llm, max_retries=2))).text == "a"
    assert len(llm.calls) == 2


async def test_a_stream_that_stalls_is_ended_by_the_deadline() -> None:
    llm = scripted_llm(["a", "b"], faults=[Stall(after=1)])
    flow = Flow("f", RelayOp(llm=llm), stream=True, deadlines=FlowDeadlines(idle=0.05))

    async with FlowApp({}, flows={"f": flow}) as app:
        with anyio.fail_after(5):
            result = await collect(app, "f")

    assert (result.text, result.state) == ("a", RunState.FAILED)
    assert result.chunks[-1].metadata["code"] == "idle_timeout"
    assert llm.open_streams == 0


async def test_a_stream_that_stalls_for_a_while_goes_on() -> None:
    before = anyio.current_time()

    text, error = await streamed(scripted_llm(["a"], faults=[Stall(seconds=0.02)]))

    assert (text, error) == ("a|", None)
    assert anyio.current_time() - before >= 0.02


async def test_a_slow_stream_is_late_with_each_chunk() -> None:
    before = anyio.current_time()

    text, _ = await streamed(scripted_llm(["a", "b"], faults=[Slow(seconds=0.01, after=1)]))

    assert text == "ab|"
    assert anyio.current_time() - before >= 0.02


async def test_a_pause_without_end_lasts_until_the_reader_leaves() -> None:
    llm = scripted_llm(["a", Pause(pause=float("inf"))])

    with anyio.move_on_after(0.02) as scope:
        await streamed(llm)

    assert scope.cancelled_caught


async def test_any_model_can_be_made_faulty() -> None:
    inner = scripted_llm(["a", "b"])
    llm = faulty(inner, Slow(seconds=0), Cut(after=1, calls=(2,)))

    assert await streamed(llm) == ("ab|", None)
    assert (await streamed(llm))[0] == "a"
    assert llm.model_name == "scripted"
    assert (len(inner.calls), inner.open_streams) == (2, 0)


async def test_faults_are_said_in_a_configuration_too() -> None:
    entry: dict[str, Any] = {
        "backend": "scripted",
        "replies": [["a", "b"]],
        "faults": [{"fault": "cut", "after": 1, "calls": [1]}],
    }

    async with FlowApp(
        {"llm": {"default": entry}}, plugins=[flowcore.testing], flows={"f": RelayOp()}
    ) as app:
        results = [await collect(app, "f") for _ in range(2)]

    assert [(r.text, r.state) for r in results] == [("a", RunState.FAILED), ("ab", RunState.DONE)]


@pytest.mark.parametrize(
    "fault",
    [{"fault": "crash"}, {"fault": "cut", "after": -1}, {"fault": "slow"}, {"fault": "cut", "x": 1},
     {"fault": "stall", "calls": [0]}],
)  # fmt: skip
def test_a_fault_that_makes_no_sense_is_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ScriptedSettings.model_validate({"faults": [fault]})
