"""Requests about a run that another process has; here each process is a server in this loop."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest

from flowcore_http import HttpSettings, siblings
from flowcore_http.connected import Connected
from flowcore_http.exchange import BodyCutError, Exchange
from flowcore_http.forwarded import is_forwarded
from flowcore_http.listener import listen
from flowcore_http.problem import HttpProblem
from flowcore_http.servers import server_of
from flowcore_http.siblings import Siblings, socket_path
from tests.servers import SERVER

if sys.platform == "win32":
    pytest.skip("there is one process on Windows", allow_module_level=True)


class Worker:
    """A stand-in for a process of the service, which has the runs of the given names."""

    def __init__(self, folder: Path, pid: int, *runs: str) -> None:
        self.pid = pid
        self.siblings = Siblings(folder, pid)
        self.runs = runs
        self.url = ""
        self.asked: list[tuple[str, bool]] = []
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = 0
        self.left = anyio.Event()
        self.silent = False
        self.stopping = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            await self._answer(exchange)
        except HttpProblem as problem:
            await exchange.refuse(problem)
        except BodyCutError:
            pass
        finally:
            exchange.end()

    async def _answer(self, exchange: Exchange) -> None:
        _, _, run, *rest = exchange.path.split("/")
        if await self._passed_on(run, exchange):
            return
        if rest == ["events"]:
            await self._stream(exchange)
            return
        body = await exchange.read_body(lambda _: None)
        query = exchange.scope["query_string"].decode()
        text = f"{exchange.method} {exchange.path}?{query} of {self.pid}: {body}"
        headers = [
            (b"content-type", b"text/plain; x=y"),
            (b"x-test", b"a"),
            (b"x-test", "ä".encode()),
            (b"x-sent", exchange.field(b"x-sent").encode()),
        ]
        await exchange.answer(418, headers, text.encode())

    async def _stream(self, exchange: Exchange) -> None:
        try:
            async with Connected(exchange):
                await exchange.start(200, [(b"content-type", b"text/event-stream")])
                while piece := await self.pieces.get():
                    await exchange.write(piece)
                    self.sent += len(piece)
                await exchange.write(b"", more=False)
        finally:
            self.left.set()

    async def _passed_on(self, run: str, exchange: Exchange) -> bool:
        self.asked.append((run, is_forwarded(exchange)))
        if self.silent:
            await anyio.sleep_forever()
        if self.stopping:
            raise HttpProblem(503, "stopping", "later")
        if run in self.runs:
            return False
        if (answer := await self.siblings.ask(exchange)) is not None:
            await answer.pass_on(exchange)
            return True
        raise HttpProblem(404, "unknown_run", "There is no such run.")


@pytest.fixture
def folder() -> Generator[Path]:
    # The path of a socket may not be long, and that of tmp_path may be.
    path = Path(tempfile.mkdtemp(prefix="flowcore-"))
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def serving(*workers: Worker) -> AsyncGenerator[None]:
    """Let workers serve, each on a port of its own and for the others."""
    settings = HttpSettings(port=0, server=SERVER)
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for worker in workers:
            sock = listen(settings)
            worker.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            await tasks.start(partial(serve_both, worker, settings, sock, stop))
        yield
        stop.set()


async def serve_both(
    worker: Worker,
    settings: HttpSettings,
    sock: socket.socket,
    stop: anyio.Event,
    *,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    async with worker.siblings.listening(worker, settings):
        task_status.started()
        await server_of(settings)(worker, sock, stop.wait)


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


async def test_the_answer_of_the_process_that_has_the_run_comes_through_unchanged(folder, client):
    one, two = Worker(folder, 1), Worker(folder, 2, "x")
    async with serving(one, two):
        direct = await client.get(f"{two.url}/runs/x?a=%2F&b", headers={"X-Sent": "1"})
        passed = await client.get(f"{one.url}/runs/x?a=%2F&b", headers={"X-Sent": "1"})

    assert direct.status_code == passed.status_code == 418
    assert passed.content == direct.content
    assert sorted(h for h in passed.headers.raw if h[0] != b"date") == sorted(
        h for h in direct.headers.raw if h[0] != b"date"
    )


async def test_a_post_arrives_once_and_where_the_run_is(folder, client):
    workers = [Worker(folder, 1), Worker(folder, 2), Worker(folder, 3, "x")]
    async with serving(*workers):
        answer = await client.post(f"{workers[0].url}/runs/x", json={"much": "text"})

    assert answer.text.startswith("POST /runs/x? of 3")
    assert [worker.asked for worker in workers] == [
        [("x", False)],
        [("x", True)],
        [("x", True)],
    ]


async def test_a_run_that_nobody_knows_is_unknown_and_nobody_asks_in_circles(folder, client):
    workers = [Worker(folder, number) for number in (1, 2, 3)]
    async with serving(*workers):
        answer = await client.get(f"{workers[0].url}/runs/x")

    assert answer.status_code == 404
    assert answer.json()["code"] == "unknown_run"
    assert [len(worker.asked) for worker in workers] == [1, 1, 1]


async def test_no_header_makes_a_request_a_forwarded_one(folder, client):
    one, two = Worker(folder, 1), Worker(folder, 2, "x")
    headers = {"flowcore.forwarded": "1", "X-Flowcore-Forwarded": "true", "Forwarded": "for=unix:"}
    async with serving(one, two):
        answer = await client.get(f"{one.url}/runs/x", headers=headers)

    assert answer.status_code == 418
    assert one.asked == [("x", False)]


async def test_processes_that_have_died_are_passed_over(folder, client):
    one, two = Worker(folder, 1), Worker(folder, 2, "x")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path(folder, 3)))
    async with serving(one, two):
        found = await client.get(f"{one.url}/runs/x")
        unknown = await client.get(f"{one.url}/runs/y")

    assert found.status_code == 418
    assert unknown.status_code == 404


async def test_a_process_that_does_not_answer_holds_up_nobody_who_asks_for_others(
    folder, client, monkeypatch
):
    workers = [Worker(folder, 1), Worker(folder, 2), Worker(folder, 3, "x")]
    workers[1].silent = True
    monkeypatch.setattr(siblings, "ANSWER_SECONDS", 60)
    async with serving(*workers):
        with anyio.fail_after(10):
            answer = await client.get(f"{workers[0].url}/runs/x")

        assert answer.status_code == 418


async def test_a_run_that_a_silent_process_may_know_is_not_called_unknown(
    folder, client, monkeypatch
):
    monkeypatch.setattr(siblings, "ANSWER_SECONDS", 0.2)
    one, two = Worker(folder, 1), Worker(folder, 2)
    two.silent = True
    async with serving(one, two):
        answer = await client.get(f"{one.url}/runs/x")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"


async def test_a_process_that_is_stopping_hides_no_answer_of_another(folder, client):
    workers = [Worker(folder, 1), Worker(folder, 2), Worker(folder, 3, "x")]
    workers[1].stopping = True
    async with serving(*workers):
        assert (await client.get(f"{workers[0].url}/runs/x")).status_code == 418
        assert (await client.get(f"{workers[0].url}/runs/y")).status_code == 503


async def test_a_stream_comes_through_piece_by_piece(folder, client):
    one, two = Worker(folder, 1), Worker(folder, 2, "x")
    async with serving(one, two), client.stream("GET", f"{one.url}/runs/x/events") as response:
        parts = response.aiter_raw()
        for piece in (b"data:1\n\n", b": \n\n", b"data:[DONE]\n\n"):
            two.pieces.put_nowait(piece)
            with anyio.fail_after(10):
                assert await anext(parts) == piece
        two.pieces.put_nowait(b"")

        assert [part async for part in parts] == []
        assert response.headers["Content-Type"] == "text/event-stream"


async def test_a_reader_that_stalls_slows_down_the_process_that_sends(folder, client):
    one, two = Worker(folder, 1), Worker(folder, 2, "x")
    for _ in range(400):
        two.pieces.put_nowait(b"x" * 100_000)
    async with serving(one, two), client.stream("GET", f"{one.url}/runs/x/events") as response:
        parts = response.aiter_raw()
        await anext(parts)
        before = -1
        while before != two.sent:
            before = two.sent
            await anyio.sleep(0.3)

        assert two.sent < 20_000_000


async def test_a_client_that_leaves_is_gone_for_the_process_that_sends(folder, client):
    one, two = Worker(folder, 1), Worker(folder, 2, "x")
    async with serving(one, two):
        async with client.stream("GET", f"{one.url}/runs/x/events") as response:
            two.pieces.put_nowait(b"data:1\n\n")
            await anext(response.aiter_raw())
        with anyio.fail_after(10):
            await two.left.wait()


async def test_a_stream_whose_process_dies_is_cut_and_not_ended(folder, client, caplog):
    one = Worker(folder, 1)
    listener = await anyio.create_unix_listener(socket_path(folder, 2))

    async def die_soon(connection: anyio.abc.SocketStream) -> None:
        await connection.receive()
        await connection.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n8\r\ndata:1\n\n\r\n"
        )
        await connection.aclose()

    async with listener, serving(one), anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, die_soon)
        async with client.stream("GET", f"{one.url}/runs/x/events") as response:
            parts = response.aiter_raw()
            assert await anext(parts) == b"data:1\n\n"
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(parts)
        tasks.cancel_scope.cancel()

    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert ["cut" in record.getMessage() for record in told] == [True]
    assert all(record.exc_info is None for record in told)
