"""The main job from outside: an op, a YAML file, one command, and a streamed answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio
import httpx
import pytest

from flowcore_http import HttpClient
from tests.plugins.openai.upstream import DONE, HANG, Upstream, delta, finish, sse, usage
from tests.tools import find_tool

from .conftest import Serve, run_script, write_env

MODEL = "qwen3-30b-a3b-instruct-2507"
STREAM = ("config=my_stream_config", "backend=http")
CLIENT = """
import asyncio
import json

from flowcore_http import HttpClient

LABELS = {{"think": "[thinking] ", "tool": "[tool] ", "error": "[error] "}}


async def main():
    async with HttpClient("{url}") as client:
        print(json.dumps(await client.health_check()))
        print(list((await client.list_endpoints()).get("paths", {{}}).keys()))
        query = "\u4ec0\u4e48\u662f AI?"
        async for chunk in client.execute_stream_flow("demo_stream_http_flow", query=query):
            kind = chunk.get("type", "answer")
            if content := chunk.get("content", ""):
                print(LABELS.get(kind, "") + content, end="", flush=True)
        print("|")


asyncio.run(main())
"""


@pytest.fixture
def env(folder: Path, upstream: Upstream) -> Upstream:
    write_env(folder, upstream)
    prompt = sse(delta("You are a patient teacher."), finish(), DONE)
    answer = sse(
        delta(reasoning_content="Let me see."),
        delta("\u4eba\u5de5\u667a\u80fd"),
        delta(" is AI"),
        finish(),
        usage(3, 4),
        DONE,
    )
    upstream.on(MODEL, lambda request: prompt if len(request.json["messages"]) == 1 else answer)
    return upstream


async def test_a_script_prints_the_stream_as_it_comes(env: Upstream, serve: Serve, folder: Path):
    async with serve(*STREAM) as url:
        printed = await run_script(folder, CLIENT.format(url=url))
    assert '"status": "healthy"' in printed
    assert "'/demo_stream_http_flow'" in printed
    assert "'/demo_http_flow'" in printed
    assert "[thinking] Let me see.\u4eba\u5de5\u667a\u80fd is AI|" in printed


async def test_the_keys_and_parameters_of_env_and_yaml_reach_the_model(env: Upstream, serve: Serve):
    async with serve(*STREAM) as url, HttpClient(url) as client:
        response = await client.execute_flow("demo_http_flow", query="What is AI?")
    assert response.answer == "\u4eba\u5de5\u667a\u80fd is AI"
    first, second = env.requests
    assert first.headers["authorization"] == "Bearer sk-xxxx"
    assert first.json["temperature"] == 0.6
    system, user = second.json["messages"]
    assert (system["role"], system["content"]) == ("system", "You are a patient teacher.")
    assert (user["role"], user["content"]) == ("user", "What is AI?")


async def test_curl_shows_events_and_the_end_mark(env: Upstream, serve: Serve):
    curl = find_tool("curl", package="curl")
    async with serve(*STREAM) as url:
        result = await anyio.run_process(
            [
                *(curl, "-s", "-X", "POST", f"{url}/demo_stream_http_flow"),
                *("-H", "Content-Type: application/json", "-d", '{\n  "query": "what is ai"\n}'),
            ]
        )
    lines = [line for line in result.stdout.decode().split("\n") if line.startswith("data:")]
    assert lines[-1] == "data:[DONE]"
    chunks = [json.loads(line.removeprefix("data:")) for line in lines[:-1]]
    assert [chunk["chunk_type"] for chunk in chunks] == ["think", "answer", "answer"]
    assert list(chunks[0]) == ["flow_id", "chunk_type", "chunk", "done", "metadata"]
    assert len({chunk["flow_id"] for chunk in chunks}) == 1


async def test_the_smoke_test_passes_against_the_running_server(env: Upstream, serve: Serve):
    async with serve(*STREAM) as url:
        result = await anyio.run_process([sys.executable, "-m", "flowcore_http.smoke", url])
    assert b"is AI" in result.stdout


async def test_the_users_own_op_wins_over_the_plugins(env: Upstream, serve: Serve, folder: Path):
    text = (folder / "my_ops.py").read_text(encoding="utf-8")
    mine = "chunk.metadata['mine'] = 1\n                await"
    text = text.replace("await self.context.add", f"{mine} self.context.add")
    (folder / "my_ops.py").write_text(text, encoding="utf-8")
    async with serve(*STREAM) as url, HttpClient(url) as client:
        stream = client.execute_stream_flow("demo_stream_http_flow", query="What is AI?")
        chunks = [chunk async for chunk in stream]
    assert all(chunk["metadata"].get("mine") == 1 for chunk in chunks)


async def test_the_service_answers_health_openapi_docs_and_any_origin(env: Upstream, serve: Serve):
    async with serve(*STREAM) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/health")).json() == {"status": "healthy"}
        document = (await client.get("/openapi.json")).json()
        docs = await client.get("/docs")
        origin = await client.get("/health", headers={"Origin": "https://somewhere.example"})
    assert document["openapi"].startswith("3.1")
    assert "text/html" in docs.headers["content-type"]
    assert origin.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in origin.headers


async def test_a_client_that_leaves_closes_the_request_to_the_model(env: Upstream, serve: Serve):
    prompt = sse(delta("Be brief."), finish(), DONE)
    hanging = sse(delta("Well"), HANG)
    env.on(MODEL, lambda request: prompt if len(request.json["messages"]) == 1 else hanging)
    async with serve(*STREAM) as url, HttpClient(url) as client:
        async for chunk in client.execute_stream_flow("demo_stream_http_flow", query="Hi"):
            assert chunk["content"] == "Well"
            break
        with anyio.fail_after(10):
            await env.requests[1].gone.wait()


async def test_a_failing_model_gives_one_error_chunk(env: Upstream, serve: Serve):
    env.on(MODEL, sse(b'data: {"error": {"message": "the model is on holiday"}}\n\n', DONE))
    async with serve(*STREAM) as url, HttpClient(url) as client:
        stream = client.execute_stream_flow("demo_stream_http_flow", query="Hi")
        chunks = [chunk async for chunk in stream]
    assert [chunk["type"] for chunk in chunks] == ["error"]
    assert "the model is on holiday" in chunks[0]["content"]


async def test_the_same_yaml_serves_a_real_model(serve: Serve):
    real = ("llm.default.backend=llamacpp", "llm.default.model_name=smollm2")
    # Several threads of the engine wait for each other, for long where other tests run beside it.
    small = ("llm.default.params.max_tokens=24", "llm.default.params.n_threads=1")
    async with serve(*STREAM, *real, *small) as url, HttpClient(url) as client:
        stream = client.execute_stream_flow("demo_stream_http_flow", query="What is a cat?")
        chunks = [chunk async for chunk in stream]
    assert len(chunks) > 5
    assert {chunk["type"] for chunk in chunks} == {"answer"}
    assert "".join(chunk["content"] for chunk in chunks).strip()
