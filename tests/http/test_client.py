"""The clients against the real server."""

from __future__ import annotations

import subprocess
import sys
from contextlib import aclosing
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx
import httpx_sse
import pytest

from flowcore import BaseAsyncOp, ChunkEnum, FlowStreamChunk, Message
from flowcore_http import HttpClient, HttpError, SyncHttpClient

AWKWARD = [
    "a\nb\rc\r\n",
    "\0\x1b",
    "x\x85y\u2028z\u2029",
    "\ufeff",
    "👩‍👩‍👧你好",
    "data: [DONE]\n\n",
    "[DONE]",
    " ",
]


class SayOp(BaseAsyncOp):
    """Streams what it is told, as every type of chunk."""

    async def async_execute(self):
        for text in self.context.texts:
            await self.context.add_stream_chunk(
                FlowStreamChunk(chunk_type=ChunkEnum.THINK, chunk=text, metadata={"t": text})
            )
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=text))
        tool = {"id": "1", "name": "find", "arguments": '{"q": "é"}'}
        await self.context.add_stream_chunk(FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk=tool))
        usage = {"total_tokens": 3}
        await self.context.add_stream_chunk(
            FlowStreamChunk(chunk_type=ChunkEnum.USAGE, chunk=usage)
        )


class EchoOp(BaseAsyncOp):
    """Answers with its input."""

    async def async_execute(self):
        self.context.response.answer = {"said": self.context.value}
        self.context.response.success = False


class FailOp(BaseAsyncOp):
    """Fails."""

    async def async_execute(self):
        raise ValueError("no luck")


OPS = (SayOp, EchoOp, FailOp)
FLOWS = {"say": "SayOp()", "echo": {"flow_content": "EchoOp()"}, "fail": "FailOp()"}


def said(chunks: list[dict[str, Any]], kind: str) -> list[Any]:
    return [chunk["content"] for chunk in chunks if chunk["type"] == kind]


async def test_the_async_client_does_what_the_guide_shows(serve):
    async with serve(FLOWS, *OPS) as server, HttpClient(server.url) as client:
        assert await client.health_check() == {"status": "healthy"}
        assert list((await client.list_endpoints())["paths"]) == [
            "/say",
            "/echo",
            "/fail",
            "/health",
        ]
        response = await client.execute_flow("echo", value=[1, "é"])
        chunks = [chunk async for chunk in client.execute_stream_flow("say", texts=AWKWARD)]

    assert (response.answer, response.success) == ({"said": [1, "é"]}, False)
    assert set(chunks[0]) == {"type", "content", "metadata", "flow_id", "event_id"}
    assert said(chunks, "think") == said(chunks, "answer") == AWKWARD
    assert chunks[0]["metadata"] == {"t": AWKWARD[0]}
    assert said(chunks, "tool") == [{"id": "1", "name": "find", "arguments": '{"q": "é"}'}]
    assert said(chunks, "usage") == [{"total_tokens": 3}]
    assert len({chunk["flow_id"] for chunk in chunks}) == 1


async def test_the_blocking_client_does_the_same(serve):
    def use(url: str) -> list[dict[str, Any]]:
        with SyncHttpClient(url) as client:
            assert client.health_check() == {"status": "healthy"}
            assert "/say" in client.list_endpoints()["paths"]
            assert client.execute_flow("echo", value=1).answer == {"said": 1}
            return list(client.execute_stream_flow("say", texts=AWKWARD))

    async with serve(FLOWS, *OPS) as server:
        chunks = await anyio.to_thread.run_sync(use, server.url)

    assert said(chunks, "answer") == AWKWARD


async def test_another_sse_client_reads_the_same_texts(serve):
    async with serve(FLOWS, *OPS) as server, httpx.AsyncClient() as client:
        url, body = f"{server.url}/say", {"texts": AWKWARD}
        async with httpx_sse.aconnect_sse(client, "POST", url, json=body) as source:
            events = [event.data async for event in source.aiter_sse()]

    assert events.pop() == "[DONE]"
    chunks = [httpx.Response(200, text=data).json() for data in events]
    assert [c["chunk"] for c in chunks if c["chunk_type"] == "answer"] == AWKWARD


async def test_a_client_that_splits_lines_as_httpx_does_loses_nothing(serve):
    texts: list[str] = []
    async with (
        serve(FLOWS, *OPS) as server,
        httpx.AsyncClient() as client,
        client.stream("POST", f"{server.url}/say", json={"texts": AWKWARD}) as response,
    ):
        async for line in response.aiter_lines():
            if line.startswith("data:") and line != "data:[DONE]":
                chunk = httpx.Response(200, text=line[5:]).json()
                if chunk["chunk_type"] == "answer":
                    texts.append(chunk["chunk"])

    assert texts == AWKWARD


async def test_a_failed_run_is_a_last_chunk_and_not_an_exception(serve):
    async with serve(FLOWS, *OPS) as server, HttpClient(server.url) as client:
        chunks = [chunk async for chunk in client.execute_stream_flow("fail")]

    assert [(chunk["type"], chunk["content"]) for chunk in chunks] == [
        ("error", "ValueError: no luck")
    ]
    assert chunks[0]["metadata"]["error_id"]


async def test_inputs_may_be_messages(serve):
    async with serve(FLOWS, *OPS) as server, HttpClient(server.url) as client:
        response = await client.execute_flow("echo", value=[Message(content="hi")])

    assert isinstance(response.answer, dict)
    assert response.answer["said"][0]["content"] == "hi"


async def test_an_input_may_be_called_like_an_argument_of_the_client(serve):
    class NamesOp(BaseAsyncOp):
        async def async_execute(self):
            self.context.response.answer = [self.context["flow"], self.context["self"]]

    flows = {"names": {"flow_content": "NamesOp()"}}
    async with serve(flows, NamesOp) as server, HttpClient(server.url) as client:
        response = await client.execute_flow("names", flow="a", self="b")

    assert response.answer == ["a", "b"]


@pytest.mark.parametrize("name", ["missing", "a/b", "say?x=1", "../health"])
async def test_a_flow_that_does_not_exist_is_an_error(serve, name):
    async with serve(FLOWS, *OPS) as server, HttpClient(server.url) as client:
        with pytest.raises(HttpError, match="unknown flow") as caught:
            await client.execute_flow(name)
        async with aclosing(client.execute_stream_flow(name)) as chunks:
            with pytest.raises(HttpError, match="unknown flow"):
                await anext(chunks)

    assert caught.value.status == 404


async def test_the_two_kinds_of_flow_are_told_apart(serve):
    async with serve(FLOWS, *OPS) as server, HttpClient(server.url) as client:
        with pytest.raises(HttpError, match="call execute_stream_flow"):
            await client.execute_flow("say", texts=[])
        async with aclosing(client.execute_stream_flow("echo", value=1)) as chunks:
            with pytest.raises(HttpError, match="call execute_flow"):
                await anext(chunks)


async def test_leaving_the_loop_cancels_the_run(serve):
    ended = anyio.Event()

    class EndlessOp(BaseAsyncOp):
        async def async_execute(self):
            try:
                while True:
                    await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))
                    await anyio.sleep(0.001)
            finally:
                ended.set()

    flows = {"endless": "EndlessOp()"}
    async with serve(flows, EndlessOp) as server, HttpClient(server.url) as client:
        async for chunk in client.execute_stream_flow("endless"):
            assert chunk["content"] == "x"
            break
        with anyio.fail_after(10):
            await ended.wait()


async def test_leaving_the_blocking_loop_cancels_the_run(serve):
    ended = anyio.Event()

    class EndlessOp(BaseAsyncOp):
        async def async_execute(self):
            try:
                while True:
                    await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))
                    await anyio.sleep(0.001)
            finally:
                ended.set()

    def use(url: str) -> None:
        with SyncHttpClient(url) as client:
            for _ in client.execute_stream_flow("endless"):
                break
            anyio.from_thread.run(wait)

    async def wait() -> None:
        with anyio.fail_after(10):
            await ended.wait()

    async with serve({"endless": "EndlessOp()"}, EndlessOp) as server:
        await anyio.to_thread.run_sync(use, server.url)

    assert ended.is_set()


def test_the_client_loads_no_server():
    code = (
        "import sys, flowcore_http; flowcore_http.HttpClient, flowcore_http.SyncHttpClient; "
        "print([m for m in ('quart', 'hypercorn', 'uvloop') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "[]"


def test_the_plugin_itself_loads_neither_server_nor_client():
    code = (
        "import sys, flowcore_http; dir(flowcore_http); "
        "print([m for m in ('quart', 'hypercorn', 'httpx') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "[]"
