from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
import pytest
from pydantic import SecretStr

from flowcore import (
    Backend,
    BaseAsyncOp,
    BaseEmbeddingModel,
    BaseLLM,
    BaseOp,
    BaseVectorStore,
    C,
    ConfigError,
    Env,
    FlowApp,
    FlowStreamChunk,
    ModelSettings,
    UnknownNameError,
    VectorStoreSettings,
    hookimpl,
)

Log = Callable[[], list[str]]
events: list[str] = []


class KeySettings(ModelSettings):
    api_key: Annotated[SecretStr | None, Env("FLOW_LLM_API_KEY")] = None


class CountingLLM(BaseLLM):
    Settings = KeySettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        events.append(f"made {settings.model_name}")

    async def astream_chat(
        self, messages: Any, tools: Any = None, **params: Any
    ) -> AsyncGenerator[FlowStreamChunk, None]:
        yield FlowStreamChunk(chunk=self.model_name)

    async def aclose(self) -> None:
        events.append(f"closed {self.model_name}")


class CountingEmbedding(BaseEmbeddingModel):
    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        events.append(f"made {settings.model_name}")

    async def embed(self, texts: Any) -> list[list[float]]:
        return [[1.0] for _ in texts]

    async def aclose(self) -> None:
        events.append(f"closed {self.model_name}")


class CountingStore(BaseVectorStore):
    def __init__(self, settings: VectorStoreSettings, embedding_model: BaseEmbeddingModel) -> None:
        super().__init__(settings, embedding_model)
        events.append("made store")

    async def aclose(self) -> None:
        events.append("closed store")


# What a test does not need of the interface.
CountingStore.__abstractmethods__ = frozenset()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(autouse=True)
def registered() -> None:
    events.clear()
    C.register_llm("counting")(CountingLLM)
    C.register_embedding_model("counting")(CountingEmbedding)
    C.register_vector_store("counting")(CountingStore)


def entry(model_name: str, **more: Any) -> dict[str, Any]:
    return {"backend": "counting", "model_name": model_name, **more}


class AskOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        reply = await self.llm.achat([])
        self.context.response.answer = f"{reply.content} {id(self.llm)}"


class SyncAskOp(BaseOp):
    def execute(self) -> None:
        self.context.response.answer = f"{self.llm.chat([]).content} {id(self.llm)}"


class StoreOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        assert self.vector_store.embedding_model is self.embedding_model


async def test_a_backend_is_made_on_first_use_shared_by_all_runs_and_closed_once() -> None:
    config = {"llm": {"default": entry("a"), "unused": entry("b")}}

    async with FlowApp(config, flows={"f": AskOp(), "g": SyncAskOp()}) as app:
        assert events == []
        answers: set[Any] = set()

        async def ask(flow: str) -> None:
            answers.add((await app.execute(flow)).answer)

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(ask, "f")
                group.start_soon(ask, "g")
        assert len(answers) == 1
        assert events == ["made a"]

    assert events == ["made a", "closed a"]


async def test_each_configured_name_has_an_object_of_its_own() -> None:
    config = {"llm": {"default": entry("a"), "fast": entry("b")}}

    async with FlowApp(config, flows={"f": AskOp(), "g": AskOp(llm="fast")}) as app:
        assert str((await app.execute("f")).answer).startswith("a ")
        assert str((await app.execute("g")).answer).startswith("b ")


async def test_backends_are_closed_in_reverse_after_the_lifespans() -> None:
    class Plugin:
        @hookimpl
        def flowcore_lifespan(self) -> Any:
            return self.life()

        @asynccontextmanager
        async def life(self) -> AsyncGenerator[None]:
            yield
            events.append("lifespan left")

    config = {
        "llm": {"default": entry("llm")},
        "embedding_model": {"default": entry("embedding")},
        "vector_store": {"default": {"backend": "counting"}},
    }
    async with FlowApp(config, flows={"f": AskOp() >> StoreOp()}, plugins=[Plugin()]) as app:
        await app.execute("f")

    assert events == [
        "made llm", "made embedding", "made store", "lifespan left",
        "closed store", "closed embedding", "closed llm",
    ]  # fmt: skip


async def test_a_backend_that_fails_to_close_does_not_keep_the_others_open(log: Log) -> None:
    class BadLLM(CountingLLM):
        async def aclose(self) -> None:
            raise OSError("stuck")

    C.register_llm("bad")(BadLLM)
    config = {"llm": {"default": entry("a"), "bad": {"backend": "bad", "model_name": "b"}}}

    async with FlowApp(config, flows={"f": AskOp() >> AskOp(llm="bad")}) as app:
        await app.execute("f")

    assert events[-1] == "closed a"
    assert "ERROR llm 'bad' failed to close" in log()


async def test_a_backend_that_does_not_close_is_not_waited_for(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowcore.resources.CLOSE_TIMEOUT", 0.01)

    class SlowLLM(CountingLLM):
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    C.register_llm("slow")(SlowLLM)
    config = {"llm": {"default": {"backend": "slow", "model_name": "a"}}}

    with anyio.fail_after(5):
        async with FlowApp(config, flows={"f": AskOp()}) as app:
            await app.execute("f")

    assert any("llm 'default' did not close within" in line for line in log())


async def test_an_app_that_is_opened_again_makes_new_backends() -> None:
    app = FlowApp({"llm": {"default": entry("a")}}, flows={"f": AskOp()})

    for _ in range(2):
        async with app:
            await app.execute("f")

    assert events == ["made a", "closed a"] * 2


async def test_what_is_not_configured_says_where_to_configure_it() -> None:
    async with FlowApp({}, flows={"f": AskOp(), "g": StoreOp()}) as app:
        with pytest.raises(UnknownNameError, match=r"unknown llm 'default'; .*llm\.default"):
            await app.execute("f")
        with pytest.raises(UnknownNameError, match=r"vector_store\.default"):
            await app.execute("g")


@pytest.mark.parametrize("kind", ["llm", "embedding_model", "vector_store"])
def test_a_name_that_an_op_uses_is_checked_at_the_start(kind: str) -> None:
    config = {
        "llm": {"fast": entry("a")},
        "embedding_model": {"default": entry("b")},
        "vector_store": {"fast": {"backend": "counting"}},
    }
    parameters: dict[str, Any] = {kind: "fasst"}
    op = AskOp(**parameters)

    with pytest.raises(ConfigError, match=f"op 'ask_op': unknown {kind} 'fasst'"):
        FlowApp(config, flows={"f": op})


def test_a_key_comes_from_the_entry_else_from_the_environment_else_from_dotenv(
    write: Callable[[str, str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(**more: Any) -> str | None:
        app = FlowApp({"llm": {"default": entry("a", **more)}})
        settings = app.backends.llm("default").settings
        assert isinstance(settings, KeySettings)
        return settings.api_key.get_secret_value() if settings.api_key else None

    assert key() is None
    write(".env", "FLOW_LLM_API_KEY=sk-dotenv")
    assert key() == "sk-dotenv"
    monkeypatch.setenv("FLOW_LLM_API_KEY", "sk-real")
    assert key() == "sk-real"
    assert key(api_key="sk-own") == "sk-own"
    assert key(api_key=12345) == "12345"


def test_secrets_do_not_show_in_settings_or_errors() -> None:
    with pytest.raises(ConfigError) as caught:
        FlowApp({"llm": {"default": entry("a", api_key={"x": "sk-secret"}, extra="sk-secret")}})
    assert "sk-secret" not in str(caught.value)

    app = FlowApp({"llm": {"default": entry("a", api_key="sk-secret")}})
    assert "sk-secret" not in repr(app.backends.llm("default").settings)


def test_the_interface_of_a_backend_has_an_end_that_does_nothing_by_itself() -> None:
    assert Backend.Settings.model_config.get("extra") == "forbid"
