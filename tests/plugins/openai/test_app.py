"""The backends inside an app, found by their entry point."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from flowcore import BaseAsyncOp, BaseOp, ConfigError, FlowApp, Message

from .conftest import CANARY
from .upstream import DONE, HANG, Upstream, delta, embeddings, event, finish, sse


class RelayOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        async for chunk in self.llm.astream_chat([Message(content=self.context.query)]):
            await self.context.add_stream_chunk(chunk)


class BlockingOp(BaseOp):
    def execute(self) -> None:
        self.context.response.answer = self.llm.chat([Message(content="hi")]).content
        self.context.response.metadata["vector"] = self.embedding_model.get_embeddings("abc")


@pytest.fixture
def config(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for kind in ("LLM", "EMBEDDING"):
        monkeypatch.setenv(f"FLOW_{kind}_API_KEY", CANARY)
        monkeypatch.setenv(f"FLOW_{kind}_BASE_URL", upstream.base_url)
    entry = {"default": {"backend": "openai_compatible", "model_name": "m"}}
    return {"llm": entry, "embedding_model": entry}


async def test_a_flow_streams_what_the_upstream_says(upstream: Upstream, config: dict[str, Any]):
    upstream.on("m", sse(delta("Hel"), delta("lo"), finish(), DONE))
    async with (
        FlowApp(config, flows={"relay": RelayOp()}) as app,
        app.stream("relay", query="hi") as chunks,
    ):
        texts = [chunk.chunk async for chunk in chunks if chunk.chunk_type == "answer"]
    assert texts == ["Hel", "lo"]
    assert upstream.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    assert upstream.requests[0].json["messages"][0]["content"] == "hi"


async def test_leaving_a_stream_closes_the_upstream(upstream: Upstream, config: dict[str, Any]):
    upstream.on("m", sse(delta("Hel"), HANG))
    async with FlowApp(config, flows={"relay": RelayOp()}) as app:
        async with app.stream("relay", query="hi") as chunks:
            async for _ in chunks:
                break
        with anyio.fail_after(5):
            await upstream.requests[0].gone.wait()


async def test_a_sync_op_uses_both_backends(upstream: Upstream, config: dict[str, Any]):
    chat, embed = sse(event(delta("Hello")), DONE), embeddings(lambda text: [float(len(text))])
    upstream.on("m", lambda request: embed(request) if "input" in request.json else chat)
    async with FlowApp(config, flows={"blocking": BlockingOp()}) as app:
        for _ in range(2):
            response = await app.execute("blocking")
            assert (response.answer, response.metadata["vector"]) == ("Hello", [3.0])
    assert upstream.connections == 2
    with anyio.fail_after(5):
        await upstream.requests[0].gone.wait()


async def test_a_malformed_key_stops_the_start_without_being_shown(config: dict[str, Any]):
    config["llm"]["default"]["api_key"] = f"{CANARY}\nX: 1"
    with pytest.raises(ConfigError, match="api_key") as caught:
        FlowApp(config)
    assert CANARY not in str(caught.value)
