from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import flowcore.testing
from flowcore import BackendError, BaseAsyncOp, ConfigError, FlowApp, Message, RunState
from flowcore.cli import main
from flowcore.testing import CassetteLLM, cassette_llm, collect
from flowcore.testing.cassette_file import read

KEY = "sk-canary-4242"
REPLY = "AI lets machines learn."


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # on which the SDK of OpenAI works


class AskOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        question = [Message(content=f"What is {self.context.query}?")]
        async for chunk in self.llm.astream_chat(question, temperature=0):
            await self.context.add_stream_chunk(chunk)


class EmbedOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        vectors = await self.embedding_model.async_get_embeddings(["a", self.context.query])
        self.context.response.answer = vectors


def openai(url: str) -> dict[str, Any]:
    return {"backend": "openai_compatible", "model_name": "m", "base_url": url, "api_key": KEY}


def entry(url: str, **settings: Any) -> dict[str, Any]:
    return {"backend": "cassette", "file": "c.yaml", "wraps": openai(url), **settings}


async def run(config: Mapping[str, Any], *queries: str) -> list[Any]:
    flows = {"ask": AskOp(), "embed": EmbedOp()}
    async with FlowApp(config, plugins=[flowcore.testing], flows=flows) as app:
        flow = "embed" if "embedding_model" in config else "ask"
        return [await collect(app, flow, query=query) for query in queries]


async def test_a_real_backend_is_recorded_and_replayed_when_it_is_gone(upstream_url: str) -> None:
    [recorded] = await run({"llm": {"default": entry(upstream_url)}}, "AI")
    gone = "http://127.0.0.1:9/v1"

    [replayed] = await run({"llm": {"default": entry(gone, mode="none")}}, "AI")

    assert (recorded.text, replayed.text) == (REPLY, REPLY)
    assert [c.chunk for c in replayed.chunks] == [c.chunk for c in recorded.chunks]
    assert replayed.chunks[-1].metadata["finish_reason"] == "stop"


async def test_the_key_of_a_real_backend_is_not_in_the_file(
    upstream_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOW_LLM_API_KEY", KEY)
    config = entry(upstream_url)
    del config["wraps"]["api_key"]

    await run({"llm": {"default": config}}, f"the key {KEY}")

    assert KEY not in Path("c.yaml").read_text(encoding="utf-8")
    assert "What is the key ***?" in Path("c.yaml").read_text(encoding="utf-8")


async def test_a_replay_needs_neither_backend_nor_settings(upstream_url: str) -> None:
    await run({"llm": {"default": entry(upstream_url)}}, "AI")
    unknown = {"backend": "not_installed", "model_name": "m", "nonsense": 1}

    [replayed] = await run({"llm": {"default": entry("", wraps=unknown)}}, "AI")

    assert replayed.text == REPLY


async def test_a_changed_op_fails_with_the_difference(upstream_url: str) -> None:
    await run({"llm": {"default": entry(upstream_url)}}, "AI")

    [result] = await run({"llm": {"default": entry(upstream_url)}}, "ML")

    assert result.state is RunState.FAILED
    assert isinstance(result.error, BackendError)
    assert result.error.code == "cassette_mismatch"
    assert "-  content: What is AI?\n+  content: What is ML?" in str(result.error)


async def test_a_served_cassette_may_be_played_again_and_again(upstream_url: str) -> None:
    await run({"llm": {"default": entry(upstream_url)}}, "AI")

    once = await run({"llm": {"default": entry(upstream_url)}}, "AI", "AI")
    often = await run({"llm": {"default": entry(upstream_url, repeat=True)}}, "AI", "AI")

    assert [result.state for result in once] == [RunState.DONE, RunState.FAILED]
    assert [result.text for result in often] == [REPLY, REPLY]


async def test_embeddings_are_recorded_and_replayed(upstream_url: str) -> None:
    [recorded] = await run({"embedding_model": {"default": entry(upstream_url)}}, "b")
    gone = "http://127.0.0.1:9/v1"

    [replayed] = await run({"embedding_model": {"default": entry(gone)}}, "b")
    [changed] = await run({"embedding_model": {"default": entry(gone)}}, "c")

    assert replayed.response.answer == recorded.response.answer
    assert [len(vector) for vector in recorded.response.answer] == [3, 3]
    assert changed.state is RunState.FAILED
    assert read(Path("c.yaml"))[0].request == {"model": "m", "texts": ["a", "b"]}


async def test_what_an_op_makes_of_its_vectors_is_not_recorded(upstream_url: str) -> None:
    class ClearOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            for vector in await self.embedding_model.async_get_embeddings(["a", "b"]):
                vector.clear()

    config = {"embedding_model": {"default": entry(upstream_url)}}
    async with FlowApp(config, plugins=[flowcore.testing], flows={"clear": ClearOp()}) as app:
        for _ in range(2):
            assert (await collect(app, "clear")).error is None

    sizes = [[len(vector) for vector in r.vectors or []] for r in read(Path("c.yaml"))]
    assert sizes == [[3, 3], [3, 3]]


async def test_two_entries_may_record_into_one_file(upstream_url: str) -> None:
    config = {
        "llm": {"default": entry(upstream_url)},
        "embedding_model": {"default": entry(upstream_url)},
    }
    flows = {"both": AskOp() >> EmbedOp()}

    for _ in range(2):
        async with FlowApp(config, plugins=[flowcore.testing], flows=flows) as app:
            result = await collect(app, "both", query="AI")
        assert result.error is None

    assert [bool(recording.vectors) for recording in read(Path("c.yaml"))] == [False, True]


async def test_a_real_backend_is_made_once_for_an_app_and_closed_with_it(upstream_url: str) -> None:
    config = {"llm": {"default": entry(upstream_url)}}
    async with FlowApp(config, plugins=[flowcore.testing], flows={"ask": AskOp()}) as app:
        llm = app.backends.llm("default")
        assert isinstance(llm, CassetteLLM)
        await collect(app, "ask", query="a")
        first = llm.source._app
        await collect(app, "ask", query="b")
        assert first is not None
        assert llm.source._app is first

    assert first.backends._made == {}
    assert len(read(Path("c.yaml"))) == 2


async def test_a_wrapped_entry_that_is_wrong_is_told_when_it_is_recorded() -> None:
    llm = cassette_llm("c.yaml", {"backend": "openai_compatibel"})

    with pytest.raises(ConfigError, match="did you mean 'openai_compatible'"):
        await llm.achat([Message(content="x")])


def test_a_missing_cassette_is_found_by_the_check() -> None:
    Path("c.yaml").unlink(missing_ok=True)
    Path("my.yaml").write_text(
        "imports: [flowcore.testing]\n"
        "llm: {default: {backend: cassette, file: c.yaml, mode: none}}\n",
        encoding="utf-8",
    )

    result = CliRunner().invoke(main, ["check", "config=my"])

    assert result.exit_code == 1
    assert "there is no cassette c.yaml" in result.output
