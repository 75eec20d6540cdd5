"""The values that calls of an op are given."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from flowcore import BaseAsyncOp, BaseOp, FlowApp, Op
from flowcore.call_values import CallValues
from flowcore.testing import run_op


class SlowlyOp(BaseAsyncOp):
    """Says its word, after another call of it had time to say its own."""

    async def async_execute(self) -> str:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        return self.context.word


class SyncSlowlyOp(BaseOp):
    def execute(self) -> str:
        self.run_async(anyio.sleep, 0.01)
        return self.context.word


class SideBySideOp(BaseAsyncOp):
    """Calls its sub-op with `a`, `b` and `c` at the same time."""

    async def async_execute(self) -> None:
        said = self.context.response.metadata

        async def call(word: str) -> None:
            said[word] = await self.ops.inner.async_call(word=word)

        async with anyio.create_task_group() as tasks:
            for word in "abc":
                tasks.start_soon(call, word)


class PassOnOp(BaseAsyncOp):
    """Calls its sub-op with nothing."""

    async def async_execute(self) -> Any:
        return await self.ops.inner.async_call()


class SyncPassOnOp(BaseOp):
    def execute(self) -> Any:
        return self.call_inner()

    def call_inner(self) -> Any:
        inner: Any = self.ops.inner
        return inner.call() if isinstance(inner, BaseOp) else self.run_async(inner.async_call)


@pytest.mark.parametrize(
    "inner",
    [
        SlowlyOp(),
        SyncSlowlyOp(),
        PassOnOp() << {"inner": SlowlyOp()},
        PassOnOp() << {"inner": SyncSlowlyOp()},
        SyncPassOnOp() << {"inner": SlowlyOp()},
        SyncPassOnOp() << {"inner": SyncSlowlyOp()},
        SlowlyOp() >> SlowlyOp(),
    ],
    ids=["async", "sync", "async async", "async sync", "sync async", "sync sync", "sequence"],
)
async def test_calls_that_go_on_at_the_same_time_see_their_own_values(inner: Op) -> None:
    result = await run_op(SideBySideOp() << {"inner": inner}, word="the run's")

    assert result.response.metadata == {"a": "a", "b": "b", "c": "c"}


async def test_ops_in_parallel_see_the_values_of_the_call_that_they_are_part_of() -> None:
    result = await run_op(SideBySideOp() << {"inner": SlowlyOp() | SyncSlowlyOp()})

    assert result.response.metadata == {"a": ["a", "a"], "b": ["b", "b"], "c": ["c", "c"]}


async def test_a_call_hides_values_of_the_run_only_while_it_lasts() -> None:
    class WordOp(BaseAsyncOp):
        async def async_execute(self) -> list[str]:
            assert dict(self.context)["word"] == "called"
            return sorted(self.context)

    class AskOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            names = await self.ops.word_op.async_call(word="called", more=1)
            self.context.response.answer = [names, self.context.word, "more" in self.context]

    result = await run_op(AskOp() << WordOp(), word="the run's")

    assert result.response.answer == [["more", "word"], "the run's", False]


async def test_what_a_call_writes_belongs_to_the_run_unless_it_was_given_it() -> None:
    class WriteOp(BaseAsyncOp):
        async def async_execute(self) -> list[Any]:
            self.context.word += "!"
            self.context.found = ["tea"]
            del self.context.old
            return [self.context.word, self.context.found]

    class AskOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            said = await self.ops.write_op.async_call(word="called")
            left = dict(self.context)
            self.context.response.answer = {"said": said, **left}

    result = await run_op(AskOp() << WriteOp(), word="the run's", old=1)

    assert result.response.answer == {
        "said": ["called!", ["tea"]],
        "word": "the run's",
        "found": ["tea"],
    }


async def test_calls_within_calls_add_their_values() -> None:
    class DeepOp(BaseAsyncOp):
        async def async_execute(self) -> list[Any]:
            return [self.context.a, self.context.b, self.context.c]

    class MiddleOp(BaseAsyncOp):
        async def async_execute(self) -> list[Any]:
            inner = await self.ops.deep_op.async_call(c=3)
            return [*inner, "c" in self.context]

    class AskOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.answer = await self.ops.middle_op.async_call(b=2, c="hidden")

    result = await run_op(AskOp() << (MiddleOp() << DeepOp()), a=1)

    assert result.response.answer == [1, 2, 3, True]


async def test_a_value_that_an_op_misses_is_not_found_in_a_call_either() -> None:
    class MissOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            _ = self.context.wrod

    class AskOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.ops.miss_op.async_call(word=1)

    with pytest.raises(AttributeError, match="did you mean 'word'"):
        await run_op(AskOp() << MissOp())


async def test_a_run_that_a_called_op_starts_does_not_see_the_values_of_the_call() -> None:
    class NamesOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.answer = sorted(self.context)

    class StartOp(BaseAsyncOp):
        async def async_execute(self) -> Any:
            return (await app.execute("names", own=1)).answer

    class AskOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.answer = await self.ops.start_op.async_call(word="called")

    app = FlowApp({}, flows={"names": NamesOp(), "ask": AskOp() << StartOp()})
    async with app:
        assert (await app.execute("ask")).answer == ["own"]


def test_own_values_come_first_and_are_counted_once() -> None:
    values = CallValues({"word": "own"}, {"word": "outer", "other": 1})

    assert dict(values) == {"word": "own", "other": 1}
    assert len(values) == 2
