"""The clients against servers that answer wrongly, byte for byte."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import pytest

from flowcore_http import HttpClient, HttpError, StreamCutError, SyncHttpClient

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
CHUNK = b'data:{"flow_id":"r1","chunk_type":"answer","chunk":"hi","done":false,"metadata":{}}\n\n'
Answering = Callable[[bytes], AbstractAsyncContextManager[str]]


@pytest.fixture
def answering() -> Answering:
    """Return a context manager: a server that answers every request with the same bytes."""

    @asynccontextmanager
    async def start(answer: bytes) -> AsyncGenerator[str, None]:
        async def handle(connection: anyio.abc.SocketStream) -> None:
            async with connection:
                received = b""
                while not received.endswith(b"}"):
                    received += await connection.receive()
                await connection.send(answer)

        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, handle)
            yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
            tasks.cancel_scope.cancel()

    return start


async def collect(url: str, into: list[dict[str, Any]]) -> None:
    with anyio.fail_after(5):
        async with HttpClient(url, idle_timeout=0.5) as client:
            async for chunk in client.execute_stream_flow("demo", query="x"):
                into.append(chunk)  # noqa: PERF401 - what came before an error counts


def collect_blocking(url: str, into: list[dict[str, Any]]) -> None:
    with SyncHttpClient(url, idle_timeout=0.5) as client:
        into.extend(client.execute_stream_flow("demo", query="x"))


async def test_a_stream_without_its_end_mark_raises_after_what_came(answering: Answering):
    chunks: list[dict[str, Any]] = []
    async with answering(STREAM + CHUNK) as url:
        with pytest.raises(StreamCutError, match="without"):
            await collect(url, chunks)

    assert chunks == [{"type": "answer", "content": "hi", "metadata": {}, "flow_id": "r1"}]


async def test_the_blocking_client_tells_of_a_cut_stream_too(answering: Answering):
    chunks: list[dict[str, Any]] = []
    async with answering(STREAM + CHUNK) as url:
        with pytest.raises(StreamCutError, match="without"):
            await anyio.to_thread.run_sync(collect_blocking, url, chunks)

    assert [chunk["content"] for chunk in chunks] == ["hi"]


async def test_a_cut_in_the_transfer_encoding_is_a_cut_stream(answering: Answering):
    head = STREAM.replace(b"Connection: close", b"Transfer-Encoding: chunked")
    async with answering(head + b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK)) as url:
        with pytest.raises(StreamCutError, match="was cut"):
            await collect(url, [])


async def test_an_event_that_ends_without_a_blank_line_is_not_yielded(answering: Answering):
    chunks: list[dict[str, Any]] = []
    async with answering(STREAM + CHUNK.rstrip(b"\n")) as url:
        with pytest.raises(StreamCutError):
            await collect(url, chunks)

    assert chunks == []


async def test_comments_and_foreign_fields_are_skipped(answering: Answering):
    chunks: list[dict[str, Any]] = []
    odd = b"\xef\xbb\xbf: hello\n\nid: 1\nevent: chunk\nretry: 5\r\n" + CHUNK + b"data: [DONE]\n\n"
    async with answering(STREAM + odd + CHUNK) as url:
        await collect(url, chunks)

    assert len(chunks) == 1


@pytest.mark.parametrize("event", [b"data:nonsense\n\n", b"data:{}\n\n", b"data:[]\n\n"])
async def test_an_event_that_is_not_a_chunk_is_an_error(answering: Answering, event: bytes):
    async with answering(STREAM + event) as url:
        with pytest.raises(HttpError, match="not a chunk"):
            await collect(url, [])


async def test_an_answer_that_is_no_stream_is_an_error(answering: Answering):
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"
    async with answering(answer) as url:
        with pytest.raises(HttpError, match="execute_flow"):
            await collect(url, [])


async def test_a_problem_is_an_error_with_its_status_and_members(answering: Answering):
    body = b'{"status": 404, "code": "unknown_flow", "detail": "unknown flow \'demo\'"}'
    head = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\n"
    async with answering(head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)) as url:
        with pytest.raises(HttpError, match="404: unknown flow 'demo'") as caught:
            await collect(url, [])

    assert caught.value.status == 404
    assert caught.value.problem["code"] == "unknown_flow"


async def test_an_error_page_of_a_proxy_is_told_with_its_text(answering: Answering):
    answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 11\r\n\r\nproxy error"
    async with answering(answer) as url, HttpClient(url) as client:
        with pytest.raises(HttpError, match="502: proxy error"):
            await client.execute_flow("demo")


@pytest.mark.parametrize("body", [b"hi", b"[]", b'{"answer": 1}'])
async def test_an_answer_of_the_wrong_form_is_an_error(answering: Answering, body: bytes):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    async with answering(head + body) as url, HttpClient(url) as client:
        with pytest.raises(HttpError, match="did not answer"):
            await client.execute_flow("demo")


async def test_silence_ends_a_stream_after_the_idle_timeout():
    async def stay_silent(connection: anyio.abc.SocketStream) -> None:
        async with connection:
            await connection.receive()
            await connection.send(STREAM + CHUNK)
            await anyio.sleep_forever()

    chunks: list[dict[str, Any]] = []
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, stay_silent)
            with pytest.raises(StreamCutError, match="silent for too long"):
                await collect(f"http://127.0.0.1:{port}", chunks)
            tasks.cancel_scope.cancel()

    assert len(chunks) == 1


async def test_a_refused_connection_is_told_with_the_address():
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    url = f"http://127.0.0.1:{port}"

    async with HttpClient(url) as client:
        with pytest.raises(HttpError, match=rf"cannot reach {url}/health") as caught:
            await client.health_check()
        async with aclosing(client.execute_stream_flow("demo")) as chunks:
            with pytest.raises(HttpError, match=rf"cannot reach {url}/demo"):
                await anext(chunks)

    assert caught.value.status is None
