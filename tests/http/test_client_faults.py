"""The clients against servers that answer wrongly, byte for byte."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import pytest
from click.testing import CliRunner, Result

from flowcore.cli import main
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
    with anyio.fail_after(20):
        async with HttpClient(url, idle_timeout=2) as client:
            async for chunk in client.execute_stream_flow("demo", query="x"):
                into.append(chunk)  # noqa: PERF401 - what came before an error counts


def collect_blocking(url: str, into: list[dict[str, Any]]) -> None:
    with SyncHttpClient(url, idle_timeout=2) as client:
        into.extend(client.execute_stream_flow("demo", query="x"))


async def test_a_stream_without_its_end_mark_raises_after_what_came(answering: Answering):
    chunks: list[dict[str, Any]] = []
    async with answering(STREAM + CHUNK) as url:
        with pytest.raises(StreamCutError, match="without"):
            await collect(url, chunks)

    assert chunks == [
        {"type": "answer", "content": "hi", "metadata": {}, "flow_id": "r1", "event_id": ""}
    ]


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


def event(**members: Any) -> bytes:
    chunk = {"flow_id": "r1", "chunk_type": "answer", "chunk": "hi", "done": False, **members}
    return b"data:%s\n\n" % json.dumps(chunk).encode()


@pytest.mark.parametrize(
    "event",
    [
        b"data:nonsense\n\n",
        b"data:{}\n\n",
        b"data:[]\n\n",
        b"data:5\n\n",
        event(chunk=None),
        event(chunk=5),
        event(chunk_type=5),
        event(chunk_type=None),
        event(metadata=[1]),
        event(metadata="x"),
        event(flow_id=5),
        event(flow_id=None),
        b"event:op\ndata:nonsense\n\n",
        b"event:op\ndata:5\n\n",
    ],
    ids=bytes.decode,
)
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


async def test_a_chunk_of_a_type_that_is_newer_than_the_client_is_passed_on(answering: Answering):
    chunks: list[dict[str, Any]] = []
    async with answering(STREAM + event(chunk_type="image") + b"data:[DONE]\n\n") as url:
        await collect(url, chunks)

    assert [(chunk["type"], chunk["content"]) for chunk in chunks] == [("image", "hi")]


# --- addresses


@pytest.mark.parametrize("client", [HttpClient, SyncHttpClient])
@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:x",
        "http://127.0.0.1:-1",
        "http://127.0.0.1\n",
        "http://\0",
        "127.0.0.1:8002",
        "me:canary@127.0.0.1:8002",
        "ftp://127.0.0.1",
    ],
)
def test_what_is_no_url_is_an_error_of_one_line(
    client: type[HttpClient | SyncHttpClient], url: str
):
    with pytest.raises(HttpError, match="is not a URL such as") as caught:
        client(url)

    assert "\n" not in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "127.0.0.1", "ftp://127.0.0.1", "http://", "http://a b", "x"])
async def test_an_address_that_no_client_can_reach_is_an_error_on_use_or_before(url: str):
    with pytest.raises(HttpError):
        async with HttpClient(url) as client:
            await client.health_check()


async def test_no_message_shows_the_password_of_an_address(answering: Answering):
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    messages: list[str] = []

    async def failing(url: str) -> None:
        async with HttpClient(url.replace("//", "//user:canary@")) as client:
            with pytest.raises(HttpError, match=url) as caught:
                await client.execute_flow("demo", query="x")
            messages.append(str(caught.value))
            async with aclosing(client.execute_stream_flow("demo", query="x")) as chunks:
                with pytest.raises(HttpError, match=url) as caught:
                    await anext(chunks)
            messages.append(str(caught.value))

    await failing(f"http://127.0.0.1:{port}")
    for answer in (
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
        STREAM.replace(b"event-stream", b"html") + b'{"answer": 1}',
    ):
        async with answering(answer) as url:
            await failing(url)

    assert len(messages) == 8
    assert not [message for message in messages if "canary" in message or "user" in message]


def test_no_message_shows_the_password_of_what_is_no_address():
    with pytest.raises(HttpError) as caught:
        HttpClient("http://user:canary@127.0.0.1:99999")

    assert "canary" not in str(caught.value)


# --- flowcore call


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b'{"a": 1}', "does not describe flows"),
        (b'{"paths": [1]}', "does not describe flows"),
        (b'{"paths": {"/demo": 5}}', "does not describe flows"),
        (b'{"paths": {"/demo": {"post": {}}}}', "does not describe flows"),
        (b'{"paths": {}}', "unknown flow 'demo'"),
        (b"[]", "did not answer with a JSON object"),
        (b"<html>", "did not answer with a JSON object"),
    ],
)
async def test_call_tells_in_one_line_of_a_server_that_is_no_flowcore_service(
    document: bytes, said: str
):
    results: list[Result] = []

    async def handle(connection: anyio.abc.SocketStream) -> None:
        async with connection:
            await connection.receive()
            await connection.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(document), document)
            )

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, handle)
            results.append(await call(f"http://user:canary@127.0.0.1:{port}"))
            tasks.cancel_scope.cancel()

    (result,) = results
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code in {1, 2}
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr
    assert told_in_one_line(result)
    assert "canary" not in result.output


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://127.0.0.1:99999", "http://127.0.0.1:x", "http://127.0.0.1\n"]
)
async def test_call_tells_in_one_line_of_an_address_that_is_none(url: str):
    result = await call(url)

    assert isinstance(result.exception, SystemExit)
    assert result.exit_code in {1, 2}
    assert "is not a URL such as" in result.stderr
    assert told_in_one_line(result)


def told_in_one_line(result: Result) -> bool:
    """Whether there is one line, besides that which tells where there is more."""
    lines = result.stderr.splitlines()
    return len([line for line in lines if not line.startswith("More: flowcore explain ")]) == 1


async def call(url: str) -> Result:
    with anyio.fail_after(20):
        return await anyio.to_thread.run_sync(
            CliRunner().invoke, main, ["call", "demo", "--url", url, "query=x"]
        )


# --- what answers a client that reads on

ID = b"0" * 32
SENT = STREAM.replace(b"\r\n\r\n", b"\r\nX-Run-Id: " + ID + b"\r\n\r\n")
REST = SENT + b"id:%s-2\n" % ID + CHUNK + b"id:%s-3\ndata:[DONE]\n\n" % ID


@asynccontextmanager
async def answering_in_turn(*answers: bytes) -> AsyncGenerator[tuple[str, list[float]]]:
    """Answer each request with the next bytes; tell at which times they came."""
    remaining, times = list(answers), list[float]()

    async def handle(connection: anyio.abc.SocketStream) -> None:
        async with connection:
            received = b""
            while not received.endswith((b"}", b"\r\n\r\n")):
                received += await connection.receive()
            times.append(time.monotonic())
            await connection.send(remaining.pop(0))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield f"http://127.0.0.1:{port}", times
        tasks.cancel_scope.cancel()


def busy(status: int, retry_after: str) -> bytes:
    head = f"HTTP/1.1 {status} Busy\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n"
    return head.encode() + b"Connection: close\r\n\r\n"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("blocking", [False, True])
async def test_a_client_reads_on_no_sooner_than_it_is_asked_to(status: int, blocking: bool):
    chunks: list[dict[str, Any]] = []
    cut = SENT + b"id:%s-1\n" % ID + CHUNK
    async with answering_in_turn(cut, busy(status, "1"), REST) as (url, times):
        if blocking:
            await anyio.to_thread.run_sync(collect_blocking, url, chunks)
        else:
            await collect(url, chunks)

    assert [chunk["content"] for chunk in chunks] == ["hi", "hi"]
    assert 1 <= times[2] - times[1] < 3


@pytest.mark.parametrize(
    "value", ["-1", "1e9", "soon", "Sun, 06 Nov 1994 08:49:37 GMT", "²", "9" * 5000]
)
async def test_a_wish_to_wait_that_makes_no_sense_is_passed_over(value: str):
    chunks: list[dict[str, Any]] = []
    async with answering_in_turn(SENT, busy(503, value), REST) as (url, _):
        await collect(url, chunks)

    assert [chunk["content"] for chunk in chunks] == ["hi"]


async def test_a_date_is_a_wish_to_wait_too(answering: Answering):
    async with (
        answering(busy(503, "Fri, 31 Dec 2100 23:59:59 GMT")) as url,
        HttpClient(url) as client,
    ):
        with pytest.raises(HttpError) as caught:
            await client.execute_flow("demo")

    assert caught.value.retry_after > 1e9


async def test_a_stream_whose_compression_is_broken_counts_as_cut():
    chunks: list[dict[str, Any]] = []
    broken = SENT.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + CHUNK
    async with answering_in_turn(broken, REST) as (url, _):
        await collect(url, chunks)

    assert [chunk["content"] for chunk in chunks] == ["hi"]


async def test_what_is_not_a_chunk_is_no_cut():
    async with answering_in_turn(SENT + b"data:{}\n\n") as (url, _):
        with pytest.raises(HttpError, match="not a chunk") as caught:
            await collect(url, [])

    assert not isinstance(caught.value, StreamCutError)
