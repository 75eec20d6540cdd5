"""The clients over a connection that breaks: a proxy cuts it after so many bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import pytest

from flowcore import BaseAsyncOp, FlowStreamChunk
from flowcore_http import (
    HttpClient,
    HttpError,
    ReplaySettings,
    StreamCutError,
    StreamGapError,
    SyncHttpClient,
)


class CountOp(BaseAsyncOp):
    """Streams 0, 1, 2 … with a short pause after each."""

    to: int = 20

    async def async_execute(self):
        STARTED.append(self.context.flow_id)
        for number in range(self.to):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"{number} "))
            await anyio.sleep(0.001)


class EndlessOp(BaseAsyncOp):
    """Streams a chunk and then nothing."""

    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="first"))
        await anyio.sleep_forever()


STARTED: list[str] = []
OPS = (CountOp, EndlessOp)
WHOLE = "".join(f"{number} " for number in range(20))


@pytest.fixture(autouse=True)
def started() -> list[str]:
    STARTED.clear()
    return STARTED


def flow(content: str, **keys: Any) -> dict[str, dict[str, Any]]:
    return {"demo": {"flow_content": content, "stream": True, **keys}}


@asynccontextmanager
async def cutting_proxy(port: int, *lengths: int) -> AsyncGenerator[str]:
    """Pass connections on; each in turn breaks after so many bytes of answers."""
    remaining = list(lengths)

    async def handle(client: anyio.abc.SocketStream) -> None:
        length = remaining.pop(0) if remaining else None

        async def upstream() -> None:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                while True:
                    await server.send(await client.receive())

        async with client, await anyio.connect_tcp("127.0.0.1", port) as server:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(upstream)
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    while length is None or length > 0:
                        data = (await server.receive())[:length]
                        await client.send(data)
                        length = None if length is None else length - len(data)
                tasks.cancel_scope.cancel()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


async def read(url: str, into: list[dict[str, Any]], **options: Any) -> None:
    with anyio.fail_after(20):
        async with HttpClient(url, **options) as client:
            async for chunk in client.execute_stream_flow("demo"):
                into.append(chunk)  # noqa: PERF401 - what came before an error counts


def read_blocking(url: str, into: list[dict[str, Any]]) -> None:
    with SyncHttpClient(url) as client:
        into.extend(client.execute_stream_flow("demo"))


def text(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk["content"] for chunk in chunks)


@pytest.mark.parametrize("lengths", [[600], [700, 400, 500], [1000, 0, 0, 300]], ids=str)
async def test_a_stream_that_was_cut_goes_on_and_nothing_is_lost_or_repeated(
    serve, started, lengths
):
    chunks: list[dict[str, Any]] = []
    async with serve(flow("CountOp()", on_disconnect={"grace": 10}), *OPS) as server:
        async with cutting_proxy(server.port, *lengths) as url:
            await read(url, chunks)

    assert text(chunks) == WHOLE
    assert len(started) == 1
    assert [chunk["event_id"] for chunk in chunks] == [
        f"{started[0]}-{number}" for number in range(1, 21)
    ]


async def test_the_blocking_client_resumes_too(serve, started):
    chunks: list[dict[str, Any]] = []
    async with serve(flow("CountOp()", on_disconnect={"grace": 10}), *OPS) as server:
        async with cutting_proxy(server.port, 600, 700) as url:
            await anyio.to_thread.run_sync(read_blocking, url, chunks)

    assert (text(chunks), len(started)) == (WHOLE, 1)


async def test_where_the_service_cancels_what_was_cut_the_client_says_so(serve, started):
    chunks: list[dict[str, Any]] = []
    async with serve(flow("CountOp(to=1000)"), *OPS) as server:
        async with cutting_proxy(server.port, 2000) as url:
            with pytest.raises(StreamCutError, match="its run was cancelled"):
                await read(url, chunks)

    numbers = [int(number) for number in text(chunks).split()]
    assert numbers == list(range(len(numbers)))
    assert len(started) == 1


async def test_a_client_may_do_without_resuming(serve):
    chunks: list[dict[str, Any]] = []
    async with serve(flow("CountOp()", on_disconnect={"grace": 10}), *OPS) as server:
        async with cutting_proxy(server.port, 600) as url:
            with pytest.raises(StreamCutError):
                await read(url, chunks, reconnects=0)


async def test_a_client_gives_up_after_some_failures_in_a_row(serve):
    chunks: list[dict[str, Any]] = []
    async with serve(flow("CountOp()", on_disconnect={"grace": 10}), *OPS) as server:
        async with cutting_proxy(server.port, 600, 0, 0, 0, 0) as url:
            with pytest.raises(StreamCutError, match="cannot be resumed"):
                await read(url, chunks, reconnects=2)
            assert chunks


async def test_what_the_service_no_longer_keeps_is_told_as_a_gap(serve):
    replay = ReplaySettings(bytes_per_run=500)
    demo = flow("CountOp(to=200)", on_disconnect={"grace": 10})
    async with serve(demo, *OPS, replay=replay) as server:
        async with HttpClient(server.url) as client:
            run_id = ""
            async for chunk in client.execute_stream_flow("demo"):
                run_id = chunk["flow_id"]
            with pytest.raises(StreamGapError, match="resumed too late"):
                async for _ in client.resume_stream(f"{run_id}-3"):
                    pass


async def test_a_stream_can_be_resumed_by_another_client(serve):
    async with serve(flow("CountOp()", on_disconnect={"grace": 10}), *OPS) as server:
        async with HttpClient(server.url) as client:
            chunks = client.execute_stream_flow("demo")
            first = await anext(chunks)
            await chunks.aclose()
        async with HttpClient(server.url) as client:
            rest = [chunk async for chunk in client.resume_stream(first["event_id"])]
            again = [chunk async for chunk in client.resume_stream(f"{first['flow_id']}-0")]

    assert text([first, *rest]) == text(again) == WHOLE


async def test_a_run_can_be_looked_at_and_cancelled(serve):
    async with serve(flow("EndlessOp()"), *OPS) as server, HttpClient(server.url) as client:
        got: list[dict[str, Any]] = []
        async for chunk in client.execute_stream_flow("demo"):
            got.append(chunk)
            if len(got) == 1:
                assert (await client.get_run(chunk["flow_id"]))["state"] == "running"
                await client.cancel_run(chunk["flow_id"])
        about = await client.get_run(got[0]["flow_id"])
        with pytest.raises(HttpError, match="no such run"):
            await client.get_run("0" * 32)

    assert [chunk["type"] for chunk in got] == ["answer", "error"]
    assert about["ending"]["code"] == "cancelled"


async def test_the_blocking_client_looks_at_runs_and_cancels_them_too(serve):
    def work(url: str) -> list[str]:
        with SyncHttpClient(url) as client:
            chunks = client.execute_stream_flow("demo")
            run_id = next(chunks)["flow_id"]
            client.cancel_run(run_id)
            rest = [chunk["type"] for chunk in chunks]
            again = [chunk["type"] for chunk in client.resume_stream(f"{run_id}-1")]
            return [client.get_run(run_id)["state"], *rest, *again]

    async with serve(flow("EndlessOp()"), *OPS) as server:
        assert await anyio.to_thread.run_sync(work, server.url) == ["cancelled", "error", "error"]
