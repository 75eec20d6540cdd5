from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from flowcore import (
    BaseAsyncOp,
    BaseEmbeddingModel,
    BaseLLM,
    BaseService,
    BaseVectorStore,
    C,
    ConfigError,
    DuplicateNameError,
    Finding,
    FlowApp,
    FlowConfig,
    FlowStreamChunk,
    Op,
    OpDefinitionError,
    PluginError,
    Registrar,
    Run,
    hookimpl,
    load_config,
)
from flowcore.plugins import PluginHost
from flowcore.testing import ScriptedLLM, collect

Log = Callable[[], list[str]]


class SalutOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="hello"))


class BrokenOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        raise ValueError("broken")


HELLO = """
from flowcore import BaseAsyncOp, hookimpl

class {name}(BaseAsyncOp):
    async def async_execute(self):
        self.context.response.answer = "from " + __name__

@hookimpl
def flowcore_register_ops(ops):
    ops.add({name})
"""


def failure(host: PluginHost, name: str) -> str:
    return next(plugin.error for plugin in host.failures if plugin.name == name)


# --- one test for each hook


def test_hook_flowcore_register_ops() -> None:
    class Plugin:
        @hookimpl
        def flowcore_register_ops(self, ops: Registrar[Op]) -> None:
            ops.add(SalutOp)
            ops.add(SalutOp, "Hi")

    config = {"flow": {"f": {"flow_content": "SalutOp() >> Hi()"}}}
    app = FlowApp(config, plugins=[Plugin()])

    assert app.catalog.ops.origin("Hi") == "plugin 'Plugin'"


def test_hook_flowcore_register_llms() -> None:
    class Plugin:
        @hookimpl
        def flowcore_register_llms(self, llms: Registrar[BaseLLM]) -> None:
            llms.add(ScriptedLLM, "mine")

    app = FlowApp({"llm": {"default": {"backend": "mine"}}}, plugins=[Plugin()])

    assert isinstance(app.backends.llm("default"), ScriptedLLM)


class LetterEmbedding(BaseEmbeddingModel):
    async def embed(self, texts: Any) -> list[list[float]]:
        return [[float(len(text))] for text in texts]


async def test_hook_flowcore_register_embedding_models() -> None:
    class Plugin:
        @hookimpl
        def flowcore_register_embedding_models(
            self, embedding_models: Registrar[BaseEmbeddingModel]
        ) -> None:
            embedding_models.add(LetterEmbedding, "letters")

    config = {"embedding_model": {"default": {"backend": "letters", "model_name": "m"}}}
    app = FlowApp(config, plugins=[Plugin()])

    assert await app.backends.embedding_model("default").async_get_embeddings(["a", "bb"]) == [
        [1.0], [2.0],
    ]  # fmt: skip


class NoStore(BaseVectorStore): ...


# The test needs nothing of the interface.
NoStore.__abstractmethods__ = frozenset()  # pyright: ignore[reportAttributeAccessIssue]


def test_hook_flowcore_register_vector_stores() -> None:
    class Plugin:
        @hookimpl
        def flowcore_register_embedding_models(self, embedding_models: Any) -> None:
            embedding_models.add(LetterEmbedding, "letters")

        @hookimpl
        def flowcore_register_vector_stores(
            self, vector_stores: Registrar[BaseVectorStore]
        ) -> None:
            vector_stores.add(NoStore, "none")

    config = {
        "embedding_model": {"e": {"backend": "letters", "model_name": "m"}},
        "vector_store": {"default": {"backend": "none", "embedding_model": "e"}},
    }
    store = FlowApp(config, plugins=[Plugin()]).backends.vector_store("default")

    assert isinstance(store, NoStore)
    assert isinstance(store.embedding_model, LetterEmbedding)


class QuietService(BaseService):
    served: list[FlowApp] = []  # noqa: RUF012

    def run(self, app: FlowApp) -> None:
        self.served.append(app)


def test_hook_flowcore_register_services() -> None:
    class Plugin:
        @hookimpl
        def flowcore_register_services(self, services: Registrar[BaseService]) -> None:
            services.add(QuietService, "quiet")

    app = FlowApp({"backend": "quiet"}, plugins=[Plugin()])
    app.service().run(app)

    assert QuietService.served == [app]


def test_hook_flowcore_diagnose() -> None:
    class Doctor:
        @hookimpl
        def flowcore_diagnose(self, config: FlowConfig, online: bool) -> Any:
            yield Finding("weather", "sky", f"{config.language}, {online}")

    class Patient:
        @hookimpl
        def flowcore_diagnose(self) -> Any:
            raise ValueError("ill")

    host = PluginHost()
    host.add(Patient())
    host.add(Doctor())
    found = host.diagnose(load_config({"language": "zh", "backend": "none"}), online=True)

    assert Finding("weather", "sky", "zh, True") in found
    assert [f.text for f in found if f.level == "warning"] == [
        "its diagnosis failed: ValueError: ill"
    ]


async def test_hook_flowcore_lifespan() -> None:
    """Entered in order before the first run, left in reverse after the last."""
    events: list[str] = []

    class First:
        @hookimpl
        def flowcore_lifespan(self, app: FlowApp) -> Any:
            return self.life("first", app)

        @asynccontextmanager
        async def life(self, name: str, app: FlowApp) -> AsyncGenerator[None]:
            assert not app.is_open
            events.append(f"{name} in")
            yield
            assert app.runs == {}
            events.append(f"{name} out")

    class Second(First):
        @hookimpl
        def flowcore_lifespan(self, app: FlowApp) -> Any:
            return self.life("second", app)

    class WaitOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            events.append("run")
            try:
                await anyio.sleep_forever()
            finally:
                events.append("run ends")

    with anyio.fail_after(5):
        async with FlowApp({}, flows={"f": WaitOp()}, plugins=[First(), Second()]) as app:
            run = app.start("f", {})
            await anyio.wait_all_tasks_blocked()

    assert events == ["first in", "second in", "run", "run ends", "second out", "first out"]
    assert run.cancel_reason == "shutdown"


async def test_a_lifespan_that_fails_on_entering_stops_the_start_and_leaves_the_others() -> None:
    events: list[str] = []

    class Good:
        @hookimpl
        def flowcore_lifespan(self) -> Any:
            return self.life()

        @asynccontextmanager
        async def life(self) -> AsyncGenerator[None]:
            events.append("in")
            try:
                yield
            finally:
                events.append("out")

    class Bad(Good):
        @asynccontextmanager
        async def life(self) -> AsyncGenerator[None]:
            raise LookupError("no database")
            yield

    app = FlowApp({}, plugins=[Good(), Bad()])
    with pytest.raises(LookupError, match="no database"):
        async with app:
            events.append("never")

    assert events == ["in", "out"]
    assert not app.is_open


async def test_a_lifespan_that_is_no_context_manager_is_refused() -> None:
    class Plugin:
        @hookimpl
        def flowcore_lifespan(self) -> Any:
            return 5

    with pytest.raises(PluginError, match="must return an async context manager, not 5"):
        async with FlowApp({}, plugins=[Plugin()]):
            pass


class Watch:
    """Observes everything, and keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @hookimpl
    def flowcore_run_started(self, run: Run) -> None:
        self.seen.append(("run started", run.flow, str(run.state)))

    @hookimpl
    def flowcore_run_finished(self, run: Run, error: BaseException | None) -> None:
        self.seen.append(("run finished", run.flow, str(run.state), type(error)))

    @hookimpl
    def flowcore_op_started(self, run: Run, op: Op) -> None:
        self.seen.append(("op started", op.name))

    @hookimpl
    def flowcore_op_finished(self, run: Run, op: Op, error: BaseException | None) -> None:
        self.seen.append(("op finished", op.name, type(error)))

    @hookimpl
    def flowcore_chunk(self, run: Run, chunk: FlowStreamChunk) -> None:
        self.seen.append(("chunk", chunk.chunk, chunk.flow_id == run.id))

    def of(self, kind: str) -> list[Any]:
        return [event[1:] for event in self.seen if event[0] == kind]


async def observed(op: Op) -> Watch:
    watch = Watch()
    async with FlowApp({}, flows={"f": op}, plugins=[watch]) as app:
        await collect(app, "f")
    return watch


async def test_hook_flowcore_run_started() -> None:
    watch = await observed(SalutOp())

    assert watch.seen[0] == ("run started", "f", "running")
    assert len(watch.of("run started")) == 1


async def test_hook_flowcore_run_finished() -> None:
    watch = await observed(SalutOp())
    assert watch.seen[-1] == ("run finished", "f", "done", type(None))

    watch = await observed(SalutOp() >> BrokenOp())
    assert watch.of("run finished") == [("f", "failed", ValueError)]


async def test_hook_flowcore_op_started() -> None:
    watch = await observed(SalutOp(name="a") >> (SalutOp(name="b") >> SalutOp(name="c")))

    assert watch.of("op started") == [("a",), ("b",), ("c",)]


async def test_hook_flowcore_op_finished() -> None:
    watch = await observed(SalutOp(name="a") >> BrokenOp(name="b", max_retries=3))

    assert watch.of("op finished") == [("a", type(None)), ("b", ValueError)]
    assert watch.of("op started") == [("a",), ("b",)]


async def test_hook_flowcore_chunk() -> None:
    watch = await observed(SalutOp() >> SalutOp())

    assert watch.of("chunk") == [("hello", True), ("hello", True)]


def test_each_hook_has_a_test_of_its_name() -> None:
    from flowcore import hookspecs

    hooks = [name for name in vars(hookspecs) if name.startswith("flowcore_")]

    assert len(hooks) == 12
    assert [hook for hook in hooks if f"test_hook_{hook}" not in globals()] == []


async def test_an_observer_that_raises_is_logged_once_and_disturbs_nobody(log: Log) -> None:
    class Clumsy:
        @hookimpl
        def flowcore_chunk(self, chunk: FlowStreamChunk) -> None:
            raise RuntimeError(chunk.chunk)

        @hookimpl
        def flowcore_run_started(self) -> None:
            raise RuntimeError("oops")

    clumsy, watch = Clumsy(), Watch()
    async with FlowApp({}, flows={"f": SalutOp() >> SalutOp()}, plugins=[clumsy, watch]) as app:
        for _ in range(3):
            assert (await collect(app, "f")).text == "hellohello"

    assert len(watch.of("chunk")) == 6
    assert len(watch.of("run started")) == 3
    assert len([line for line in log() if "failed while it observed a run" in line]) == 2


async def test_an_implementation_may_leave_arguments_out_or_change_their_order() -> None:
    seen: list[Any] = []

    class Plugin:
        @hookimpl
        def flowcore_op_finished(self, error: BaseException | None, run: Run) -> None:
            seen.append((run.flow, error))

        @hookimpl
        def flowcore_run_finished(self) -> None:
            seen.append("finished")

    async with FlowApp({}, flows={"f": SalutOp()}, plugins=[Plugin()]) as app:
        await app.execute("f")

    assert seen == [("f", None), "finished"]


# --- plugins that are installed


async def test_an_installed_plugin_is_found_by_its_entry_point(install: Any) -> None:
    install("hello-dist", {"hello": "hello_mod"}, {"hello_mod": HELLO.format(name="HiOp")})

    config = {"flow": {"f": {"flow_content": "HiOp()"}}}
    async with FlowApp(config) as app:
        assert (await app.execute("f")).answer == "from hello_mod"

    plugin = next(plugin for plugin in app.plugins.plugins if plugin.name == "hello")
    assert (plugin.distribution, plugin.version, plugin.module) == (
        "hello-dist", "1.2.3", "hello_mod",
    )  # fmt: skip
    assert list(plugin.hooks) == ["flowcore_register_ops"]
    assert plugin.error == ""
    assert app.catalog.ops.origin("HiOp") == "plugin 'hello' (hello-dist 1.2.3)"


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named"),
        ("raise ValueError('at import')", "ValueError: at import"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        ("from flowcore import hookimpl\n@hookimpl\ndef flowcore_regster_ops(ops): ...",
         "unknown hook 'flowcore_regster_ops'; did you mean 'flowcore_register_ops'?"),
        ("from flowcore import hookimpl\n@hookimpl\ndef flowcore_run_started(nonsense): ...",
         "nonsense"),
        ("from flowcore import hookimpl\n@hookimpl\nasync def flowcore_run_started(run): ...",
         "flowcore_run_started"),
        ("from flowcore import hookimpl\n@hookimpl(wrapper=True)\ndef flowcore_chunk(run): yield",
         "flowcore_chunk"),
        (HELLO.format(name="HiOp") + "    ops.add(int)", "must be a subclass of Op"),
        (HELLO.format(name="HiOp") + "    ops.add('HiOp')", "must be a subclass of Op"),
        (HELLO.format(name="HiOp") + "    1 / 0", "ZeroDivisionError"),
        ("from flowcore import BaseAsyncOp\nclass Hi(BaseAsyncOp): ...", "rename 'Hi' to 'HiOp'"),
    ],
)  # fmt: skip
async def test_a_plugin_that_fails_is_recorded_and_left_out_and_the_others_work(
    install: Any, log: Log, source: str, cause: str
) -> None:
    install("a-bad-dist", {"abad": "bad_mod"}, {"bad_mod": source})
    install("good-dist", {"zgood": "good_mod"}, {"good_mod": HELLO.format(name="GoodOp")})

    async with FlowApp({"flow": {"f": {"flow_content": "GoodOp()"}}}) as app:
        assert (await app.execute("f")).answer == "from good_mod"

    assert cause in failure(app.plugins, "abad")
    assert "HiOp" not in app.catalog.ops
    logged = [line for line in log() if "could not be loaded" in line]
    assert any("plugin 'abad' (a-bad-dist 1.2.3)" in line for line in logged)


async def test_nothing_of_a_plugin_that_failed_stays_behind(install: Any) -> None:
    source = """
from flowcore import hookimpl
seen = []
@hookimpl
def flowcore_chunk(chunk): seen.append(chunk)
@hookimpl
def flowcore_lifespan(app): seen.append(app)
@hookimpl
def flowcore_register_ops(ops): raise ValueError("no")
"""
    install("half-dist", {"half": "half_mod"}, {"half_mod": source})

    async with FlowApp({}, flows={"f": SalutOp()}) as app:
        await app.execute("f")

    import half_mod  # pyright: ignore[reportMissingImports]

    assert half_mod.seen == []
    assert failure(app.plugins, "half") == "ValueError: no"


def test_a_config_that_needs_something_of_a_failed_plugin_says_why(install: Any) -> None:
    install("bad-dist", {"bad": "bad_mod"}, {"bad_mod": "raise ValueError('no licence')"})

    config = {"flow": {"f": {"flow_content": "ZebraOp()"}}}
    with pytest.raises(ConfigError, match=r"plugin 'bad' \(bad-dist 1\.2\.3\).*no licence"):
        FlowApp(config)


def test_an_entry_point_that_names_nothing_is_recorded(install: Any) -> None:
    install("a-dist", {"lost": "no_such_mod_x", "attr": "some_mod:nothing"}, {"some_mod": ""})

    host = PluginHost()

    assert "no_such_mod_x" in failure(host, "lost")
    assert "nothing" in failure(host, "attr")


def test_two_plugins_with_one_name_both_show_up_and_the_message_is_readable(install: Any) -> None:
    install("one-dist", {"same": "one_mod"}, {"one_mod": HELLO.format(name="OneOp")})
    install("two-dist", {"same": "two_mod"}, {"two_mod": HELLO.format(name="TwoOp")})

    host = PluginHost()

    assert "OneOp" in host.catalog.ops
    same = [plugin for plugin in host.plugins if plugin.name == "same"]
    assert {plugin.distribution for plugin in same} == {"one-dist", "two-dist"}
    if "TwoOp" not in host.catalog.ops:
        assert "one-dist" in failure(host, "same")
    assert all("<module" not in plugin.error for plugin in same)


# --- names claimed twice


def test_two_plugins_that_register_one_op_are_both_named(install: Any) -> None:
    install("one-dist", {"one": "one_mod"}, {"one_mod": HELLO.format(name="HiOp")})
    install("two-dist", {"two": "two_mod"}, {"two_mod": HELLO.format(name="HiOp")})

    with pytest.raises(DuplicateNameError) as caught:
        FlowApp({})

    message = str(caught.value)
    assert "op 'HiOp' is registered twice" in message
    assert "plugin 'one' (one-dist 1.2.3) (one_mod.HiOp)" in message
    assert "plugin 'two' (two-dist 1.2.3) (two_mod.HiOp)" in message
    assert "override=True" in message


async def test_a_plugin_may_override_another_on_purpose(install: Any) -> None:
    install("one-dist", {"one": "one_mod"}, {"one_mod": HELLO.format(name="HiOp")})
    override = HELLO.format(name="HiOp").replace("ops.add(HiOp)", "ops.add(HiOp, override=True)")
    install("two-dist", {"two": "two_mod"}, {"two_mod": override})

    async with FlowApp({"flow": {"f": {"flow_content": "HiOp()"}}}) as app:
        assert (await app.execute("f")).answer == "from two_mod"


async def test_the_users_own_code_wins_over_a_plugin(install: Any) -> None:
    install("one-dist", {"one": "one_mod"}, {"one_mod": HELLO.format(name="HiOp")})

    @C.register_op()
    class HiOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.answer = "from the user"

    async with FlowApp({"flow": {"f": {"flow_content": "HiOp()"}}}) as app:
        assert (await app.execute("f")).answer == "from the user"


# --- plugins given as objects


def test_several_instances_of_one_class_and_unhashable_ones_are_taken() -> None:
    class Plugin:
        __hash__ = None  # pyright: ignore[reportAssignmentType]

        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def flowcore_register_ops(self, ops: Registrar[Op]) -> None:
            ops.add(SalutOp, self.name)

    app = FlowApp({}, plugins=[Plugin("A"), Plugin("B")])

    assert {"A", "B"} <= set(app.catalog.ops)


def test_a_mistake_of_an_object_is_raised_where_it_was_made() -> None:
    class Typo:
        @hookimpl
        def flowcore_register_opps(self, ops: Registrar[Op]) -> None: ...

    class NoOp:
        @hookimpl
        def flowcore_register_ops(self, ops: Registrar[Any]) -> None:
            ops.add(int)

    with pytest.raises(PluginError, match="did you mean 'flowcore_register_ops'"):
        FlowApp({}, plugins=[Typo()])
    with pytest.raises(OpDefinitionError, match="'NoOp' registers <class 'int'> as op"):
        FlowApp({}, plugins=[NoOp()])


async def test_a_module_under_imports_is_a_plugin_too(
    write: Callable[[str, str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(".")
    # Named like an entry point that is installed: that is no matter.
    write("memory.py", HELLO.format(name="MineOp"))

    config = {"imports": ["memory"], "flow": {"f": {"flow_content": "MineOp()"}}}
    async with FlowApp(config) as app:
        assert (await app.execute("f")).answer == "from memory"

    import sys

    del sys.modules["memory"]
