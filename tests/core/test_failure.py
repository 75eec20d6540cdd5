from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from flowcore import BaseAsyncOp, ChunkEnum, FlowApp, FlowStreamChunk, Op, RunFailedError, RunState
from flowcore.failure import MAX_TEXT_CHARS, error_text
from flowcore.testing import RunResult, collect

Log = Callable[[], list[str]]


class PanicError(BaseException):
    """What extensions in other languages raise: no Exception, and unknown to the event loop."""


class RaisingStrError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even a text")


class NoTextError(Exception):
    def __str__(self) -> str:
        return None  # pyright: ignore[reportReturnType]  # noqa: PLE0307


class RaiseOp(BaseAsyncOp):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    async def async_execute(self) -> None:
        raise self.error


class ForeverOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        while True:
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def deep() -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(5000):
        value = {"deeper": value}
    return value


async def failed_beside_a_good_run(bad: Op) -> RunResult:
    """Run ``bad`` to its failure while another run goes on and takes no notice."""
    async with FlowApp({}, flows={"bad": bad, "good": ForeverOp()}) as app:
        with anyio.fail_after(5):
            async with app.stream("good") as good:
                await anext(good)
                result = await collect(app, "bad")
                assert (await anext(good)).chunk == "x"
                assert good.run.state is RunState.RUNNING
    assert result.state is RunState.FAILED
    assert [chunk.chunk_type for chunk in result.chunks].count(ChunkEnum.ERROR) == 1
    assert result.chunks[-1].chunk_type is ChunkEnum.ERROR
    return result


# --- odd errors


@pytest.mark.parametrize(
    ("error", "text"),
    [(RaisingStrError(), "RaisingStrError"), (NoTextError(), "NoTextError")],
    ids=["raises", "no text"],
)
async def test_an_error_whose_text_cannot_be_had_is_told_by_its_name(
    error: Exception, text: str
) -> None:
    result = await failed_beside_a_good_run(RaiseOp(error))

    assert result.chunks[-1].chunk == text
    assert result.error is error


@pytest.mark.parametrize(
    "metadata",
    [cyclic(), deep(), {"a": "\ud800"}, {"a": object()}, {"a": {1: {2}}}, {"a": float("nan")}],
    ids=["cyclic", "deep", "surrogate", "object", "odd keys", "nan"],
)
async def test_an_error_is_told_whatever_its_metadata_are(metadata: dict[str, Any]) -> None:
    result = await failed_beside_a_good_run(RaiseOp(RunFailedError("no luck", metadata)))

    assert result.chunks[-1].chunk == "no luck"
    assert result.chunks[-1].metadata["code"]
    assert result.chunks[-1].model_dump_json()


@pytest.mark.parametrize(
    "error",
    [
        PanicError("odd"),
        GeneratorExit("odd"),
        SystemExit("odd"),
        BaseExceptionGroup("odd", [SystemExit(3)]),
        BaseExceptionGroup("odd", [ValueError("x"), PanicError("y")]),
        BaseExceptionGroup("odd", [BaseExceptionGroup("inner", [GeneratorExit("z")])]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", ["alone", "branch", "fallback", "sub-op"])
async def test_no_exception_is_odd_enough_to_end_more_than_its_run(
    error: BaseException, place: str
) -> None:
    class FallBackOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            raise ValueError("first")

        async def async_default_execute(self, error: Exception) -> None:
            raise odd

    class CallOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.ops.sub.async_call()

    odd = error
    raiser = RaiseOp(error)
    result = await failed_beside_a_good_run(
        {
            "alone": raiser,
            "branch": raiser | ForeverOp(),
            "fallback": FallBackOp(),
            "sub-op": CallOp() << {"sub": RaiseOp(error)},
        }[place]
    )

    assert str(result.chunks[-1].chunk).startswith("an op raised ")
    assert isinstance(result.error, RunFailedError)
    assert result.error.__cause__ is not None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_keyboard_interrupt_of_an_op_ends_its_run_only() -> None:
    result = await failed_beside_a_good_run(RaiseOp(KeyboardInterrupt()))

    assert result.chunks[-1].chunk == "an op raised KeyboardInterrupt"


# --- cancellations that are none


async def test_a_branch_that_raises_a_cancellation_of_its_own_fails_the_run() -> None:
    class CancelledOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            with anyio.CancelScope() as scope:
                scope.cancel()
                try:
                    await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class() as error:
                    self.kept = error
            raise self.kept

    result = await failed_beside_a_good_run(CancelledOp() | ForeverOp())

    assert "Cancelled" in str(result.chunks[-1].chunk)


async def test_what_a_cancelled_branch_raises_is_logged(log: Log) -> None:
    class FinallyOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            try:
                await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))
                await anyio.sleep_forever()
            finally:
                raise ValueError(f"{self.name} could not close")

    flow = FinallyOp(name="left") | FinallyOp(name="right")
    async with FlowApp({}, flows={"f": flow}) as app:
        with anyio.fail_after(5):
            async with app.stream("f") as chunks:
                await anext(chunks)
                await anext(chunks)

    lines = [line for line in log() if "failed while it was cancelled" in line]
    assert len(lines) == 2
    for name in ("left", "right"):
        assert any(f"op {name!r} failed" in line and f"{name} could not" in line for line in lines)


async def test_what_the_sibling_of_a_failed_branch_raises_is_logged(log: Log) -> None:
    class FinallyOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            try:
                await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))
                self.context.began.set()
                await anyio.sleep_forever()
            finally:
                raise ValueError("could not close")

    class FailOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.began.wait()
            raise KeyError("first")

    async with FlowApp({}, flows={"f": FailOp() | FinallyOp(name="right")}) as app:
        with anyio.fail_after(5):
            result = await collect(app, "f", began=anyio.Event())

    assert isinstance(result.error, KeyError)
    assert [line for line in log() if "could not close" in line and "'right'" in line]


# --- texts


class Secrets(BaseModel):
    password: int


async def test_an_invalid_model_is_told_in_one_line_without_its_values() -> None:
    class ValidateOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            Secrets.model_validate({"password": "hunter2"})

    result = await failed_beside_a_good_run(ValidateOp())

    text = str(result.chunks[-1].chunk)
    assert text.startswith("ValidationError: password: ")
    assert "hunter2" not in text
    assert "http" not in text
    assert "\n" not in text


async def test_an_answer_of_the_wrong_type_is_told_without_its_value() -> None:
    class AnswerOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.answer = 54321  # pyright: ignore[reportAttributeAccessIssue]

    result = await failed_beside_a_good_run(AnswerOp())

    text = str(result.chunks[-1].chunk)
    assert "answer" in text
    assert "54321" not in text
    assert "http" not in text


def test_a_text_of_any_length_and_form_can_be_sent() -> None:
    assert len(error_text(ValueError("x" * 1_000_000))) < MAX_TEXT_CHARS + 100
    assert error_text(ValueError("\ud800")).encode() == "ValueError: \ufffd".encode()
    assert error_text(ExceptionGroup("g", [RaisingStrError()])) == "RaisingStrError"
    assert error_text(None)
