from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from flowcore import (
    AppClosedError,
    BaseAsyncOp,
    BaseOp,
    C,
    ConfigError,
    Flow,
    FlowApp,
    FlowStreamChunk,
    InputError,
    OpDefinitionError,
    RunState,
    SyncFlowApp,
    UnknownNameError,
    hookimpl,
    load_config,
)


class EchoOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        self.context.response.answer = dict(self.context)


class WordsOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        for word in ("one ", "two"):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=word))


class FailOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        raise LookupError("mine")


class ForeverOp(BaseAsyncOp):
    ended: list[str] = []  # noqa: RUF012

    async def async_execute(self) -> None:
        try:
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))
            await anyio.sleep_forever()
        finally:
            type(self).ended.append("ended")


FLOWS: dict[str, Any] = {"echo": EchoOp(), "words": WordsOp(), "fail": FailOp()}


# --- life


async def test_an_app_works_only_while_it_is_open() -> None:
    app = FlowApp({}, flows=FLOWS)

    with pytest.raises(AppClosedError, match="use it in `async with"):
        app.start("echo", {})
    async with app:
        assert app.is_open
        with pytest.raises(AppClosedError, match="open already"):
            await app.__aenter__()
        assert (await app.execute("echo")).answer == {}
    assert not app.is_open
    with pytest.raises(AppClosedError):
        await app.execute("echo")


async def test_an_app_may_be_opened_again() -> None:
    app = FlowApp({}, flows=FLOWS)

    for _ in range(3):
        async with app:
            assert (await app.execute("words")).answer == "one two"


async def test_closing_cancels_what_still_runs_and_waits_for_its_cleanup() -> None:
    ForeverOp.ended = []

    with anyio.fail_after(5):
        async with FlowApp({}, flows={"f": ForeverOp()}) as app:
            runs = [app.start("f", {}) for _ in range(5)]
            await anyio.wait_all_tasks_blocked()

    assert ForeverOp.ended == ["ended"] * 5
    assert {run.state for run in runs} == {RunState.CANCELLED}
    assert {run.cancel_reason for run in runs} == {"shutdown"}
    assert app.runs == {}


async def test_drain_waits_for_runs_and_says_whether_all_have_ended() -> None:
    class WaitOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.go.wait()

    go = anyio.Event()
    async with FlowApp({}, flows={"f": WaitOp()}) as app:
        run = app.start("f", {"go": go})
        assert await app.drain(0.01) is False
        go.set()
        assert await app.drain(5) is True
        assert app.runs == {}
        run.cancel()


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), SystemExit(1)])
async def test_what_the_block_raises_leaves_it_unwrapped(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        async with FlowApp({}, flows=FLOWS):
            raise error

    assert caught.value is error


async def test_what_an_op_raises_leaves_the_block_unwrapped() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with FlowApp({}, flows=FLOWS) as app:
            await app.execute("fail")


async def test_two_apps_in_one_process_share_nothing() -> None:
    class Plugin:
        @hookimpl
        def flowcore_register_ops(self, ops: Any) -> None:
            ops.add(EchoOp, "PrivateOp")

    one = FlowApp({"flow": {"f": {"flow_content": "PrivateOp()"}}}, plugins=[Plugin()])

    with pytest.raises(ConfigError, match="unknown op 'PrivateOp'"):
        FlowApp({"flow": {"f": {"flow_content": "PrivateOp()"}}})
    assert "PrivateOp" not in C.ops
    two = FlowApp({}, flows=FLOWS)
    async with one, two:
        assert set(one.flows) == {"f"}
        assert set(two.flows) == set(FLOWS)


# --- flows


async def test_flows_come_from_the_config_and_from_python() -> None:
    C.register_op()(EchoOp)
    flow = Flow("said", WordsOp(), stream=True, description="says words")

    config = {"flow": {"written": {"flow_content": "EchoOp()"}}}
    async with FlowApp(config, flows={"given": WordsOp(), "said": flow}) as app:
        assert set(app.flows) == {"written", "given", "said"}
        assert app.flows["said"].description == "says words"
        assert (await app.execute("said")).answer == "one two"
        assert (await app.execute("written", a=1)).answer == {"a": 1}


def test_a_flow_may_not_be_given_twice() -> None:
    C.register_op()(EchoOp)

    with pytest.raises(ConfigError, match="flow 'f' is in the configuration and given"):
        FlowApp({"flow": {"f": {"flow_content": "EchoOp()"}}}, flows={"f": EchoOp()})


@pytest.mark.parametrize("name", ["a", "a-b_c.1", "A" * 128, "0"])
def test_a_flow_name_may_be(name: str) -> None:
    assert Flow(name, EchoOp()).name == name


@pytest.mark.parametrize("name", ["", "a b", "-a", ".a", "a/b", "A" * 129, "中", "a\n", "a%20"])
def test_a_flow_name_may_not_be(name: str) -> None:
    with pytest.raises(ConfigError, match="use letters, digits"):
        Flow(name, EchoOp())


@pytest.mark.parametrize(
    ("name", "fitting"), [("my flow", "my_flow"), ("/a/b/", "_a_b_"), ("-a", "a")]
)
def test_a_flow_name_that_is_none_is_met_with_one_that_fits(name: str, fitting: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{fitting}'"):
        Flow(name, EchoOp())


@pytest.mark.parametrize("wrong", [EchoOp, 5, "EchoOp()", None])
def test_what_is_no_op_is_no_flow(wrong: Any) -> None:
    with pytest.raises((OpDefinitionError, ConfigError), match="takes ops, not"):
        FlowApp({}, flows={"f": wrong})


async def test_an_unknown_flow_is_met_with_the_nearest_one() -> None:
    async with FlowApp({}, flows=FLOWS) as app:
        with pytest.raises(UnknownNameError, match="unknown flow 'ecko'; did you mean 'echo'"):
            await app.execute("ecko")
        with pytest.raises(UnknownNameError):
            async with app.stream("ecko"):
                pass


async def test_a_request_may_use_any_names_for_its_inputs() -> None:
    inputs = {"self": 1, "flow": 2, "inputs": 3, "app": 4, "reason": 5}

    async with FlowApp({}, flows=FLOWS) as app:
        assert (await app.execute("echo", **inputs)).answer == inputs


def test_imports_are_loaded_before_the_flows(
    write: Callable[[str, str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    write(
        "imported_ops_xyz.py",
        "from flowcore import BaseAsyncOp, C\n"
        "@C.register_op()\n"
        "class ImportedOp(BaseAsyncOp):\n"
        "    async def async_execute(self): ...\n",
    )
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])  # as a console script sees it

    config = {"imports": ["imported_ops_xyz"], "flow": {"f": {"flow_content": "ImportedOp()"}}}

    assert set(FlowApp(config).flows) == {"f"}
    del sys.modules["imported_ops_xyz"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("from flowcore import *\nclass Bad(BaseAsyncOp): ...", "rename 'Bad' to 'BadOp'"),
        ("from flowcore import *\n@C.register_op\nclass MyOp(BaseAsyncOp): ...", "parentheses"),
    ],
)
def test_a_module_that_does_not_import_is_named_with_the_cause(
    write: Callable[[str, str], Any], source: str, said: str
) -> None:
    write("bad_ops_xyz.py", source)
    write("my.yaml", "language: en\nimports:\n  - bad_ops_xyz\n")

    with pytest.raises(ConfigError) as caught:
        FlowApp("my.yaml")

    assert str(caught.value).startswith("my.yaml:3: cannot import 'bad_ops_xyz': ")
    assert said in str(caught.value)


def test_an_app_takes_a_config_as_file_mapping_object_and_overrides(
    write: Callable[[str, str], Any],
) -> None:
    path = write("my.yaml", "language: zh")

    for source in ("my", "my.yaml", path, {"language": "zh"}, load_config("my")):
        assert FlowApp(source).config.language == "zh"
    assert FlowApp("my", "language=en").config.language == "en"


# --- the blocking twin


def test_the_blocking_twin_executes_and_streams() -> None:
    with SyncFlowApp({}, flows=FLOWS) as app:
        assert app.execute("echo", a=1).answer == {"a": 1}
        with app.stream("words") as chunks:
            assert [chunk.chunk for chunk in chunks] == ["one ", "two"]
        assert app.app.is_open
    assert not app.app.is_open


def test_the_blocking_twin_raises_what_the_op_raised_and_goes_on() -> None:
    with SyncFlowApp({}, flows=FLOWS) as app:
        with pytest.raises(LookupError, match="mine"):
            app.execute("fail")
        with pytest.raises(LookupError, match="mine"), app.stream("fail") as chunks:
            list(chunks)
        with pytest.raises(UnknownNameError):
            app.execute("nope")
        assert app.execute("words").answer == "one two"

    with pytest.raises(LookupError, match="mine"), SyncFlowApp({}, flows=FLOWS) as app:
        app.execute("fail")
    with pytest.raises(InputError), SyncFlowApp({}, flows=FLOWS):
        raise InputError("f", [])


def test_the_blocking_twin_shows_chunks_as_they_come() -> None:
    go = threading.Event()

    class StepOp(BaseOp):
        def execute(self) -> None:
            self.context.add_stream_chunk_sync(FlowStreamChunk(chunk="first"))
            assert go.wait(5)
            self.context.add_stream_chunk_sync(FlowStreamChunk(chunk="second"))

    with SyncFlowApp({}, flows={"f": StepOp()}) as app, app.stream("f") as chunks:
        assert next(chunks).chunk == "first"
        go.set()
        assert next(chunks).chunk == "second"
        assert list(chunks) == []


def test_leaving_the_blocking_stream_cancels_the_op() -> None:
    ForeverOp.ended = []

    with SyncFlowApp({}, flows={"f": ForeverOp()}) as app:
        with app.stream("f") as chunks:
            assert next(chunks).chunk == "x"
        assert ForeverOp.ended == ["ended"]
        assert app.app.runs == {}


def test_the_blocking_twin_serves_several_threads_at_once() -> None:
    class MeetOp(BaseAsyncOp):
        here = 0

        async def async_execute(self) -> None:
            type(self).here += 1
            while type(self).here < 4:
                await anyio.sleep(0.001)
            self.context.response.answer = self.context.number

    answers: list[Any] = []
    with SyncFlowApp({}, flows={"f": MeetOp()}) as app:
        threads = [
            threading.Thread(
                target=lambda n=n: answers.append(app.execute("f", number=str(n)).answer)
            )
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    assert sorted(answers) == ["0", "1", "2", "3"]


def test_the_blocking_twin_works_only_while_it_is_open() -> None:
    app = SyncFlowApp({}, flows=FLOWS)

    with pytest.raises(AppClosedError, match="with SyncFlowApp"):
        app.execute("echo")
    for _ in range(2):
        with app:
            assert app.execute("echo").answer == {}
    with pytest.raises(AppClosedError), app.stream("echo"):
        pass


def test_a_blocking_twin_that_fails_to_open_is_closed_again() -> None:
    class Plugin:
        @hookimpl
        def flowcore_lifespan(self) -> Any:
            return self.life()

        @asynccontextmanager
        async def life(self) -> AsyncGenerator[None]:
            raise LookupError("no database")
            yield

    before = threading.active_count()
    app = SyncFlowApp({}, plugins=[Plugin()])
    with pytest.raises(LookupError, match="no database"), app:
        pass
    with pytest.raises(AppClosedError):
        app.execute("echo")
    assert threading.active_count() <= before + 1


class TidyOp(BaseAsyncOp):
    """Needs some steps of the event loop to clean up."""

    async def async_execute(self) -> None:
        try:
            self.context["waits"].set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()


async def test_an_event_loop_that_was_blocked_does_not_make_ops_late() -> None:
    waits = anyio.Event()
    config = {"deadlines": {"cleanup": 0.2}}

    async with FlowApp(config, flows={"tidy": TidyOp()}) as app:
        with anyio.fail_after(5):
            run = app.start("tidy", {"waits": waits})
            await waits.wait()
            run.cancel()
            time.sleep(0.3)
            await run.wait()

    assert not run.abandoned
