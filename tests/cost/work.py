"""Small pieces of work whose cost is counted; see ``measure.py``.

For a process of its own: what it registers would replace ops of other tests.

``python -m tests.cost.work calls`` prints, as JSON, how many calls and the like one unit of each
takes. Below callgrind, ``python -m tests.cost.work instructions`` counts instructions instead.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio

from flowcore import BaseAsyncOp, C, FlowApp, FlowStreamChunk, load_config
from flowcore_http import HttpSettings, create_app
from flowcore_http.listener import listen
from flowcore_http.servers import server_of
from tests.cost import callgrind, calls
from tests.cost.bounds import SIMPLE_CALL
from tests.cost.deltas import asking

MORE_OPS = 10


class Work(NamedTuple):
    """Something to do; its cost is the difference between doing much and doing little."""

    run: Callable[[int], Awaitable[object]]
    little: int
    much: int


@C.register_op()
class CountOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        self.context.response.answer = "x"


@C.register_op()
class BurstOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        for _ in range(self.context.count):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="hello "))


@C.register_op()
class TextsOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        for _ in range(self.context.count):
            await self.context.add_stream_text("hello ")


@C.register_op()
class PacedOp(BaseAsyncOp):
    pause: float = 0.002  # longer than chunks are joined that follow each other

    async def async_execute(self) -> None:
        for _ in range(self.context.count):
            await Client.has_read.wait()
            Client.has_read.clear()
            if self.pause:
                await asyncio.sleep(self.pause)
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="hello "))


FLOWS = {
    "one": {"flow_content": "CountOp()"},
    "more": {"flow_content": " >> ".join(["CountOp()"] * (1 + MORE_OPS))},
    "burst": {"flow_content": "BurstOp()", "stream": True},
    "texts": {"flow_content": "TextsOp()", "stream": True},
    "paced": {"flow_content": "PacedOp()", "stream": True},
    "at_once": {"flow_content": "PacedOp(pause=0.0)", "stream": True},
}


class Cell:
    def __init__(self) -> None:
        self._kept: dict[str, int] = {}
        self.last = ""

    def keep(self, name: str, number: int) -> None:
        if number != self._kept.get(name):
            self._kept[name] = number
            self.last = f"{name} {number}"


class Client(asyncio.Protocol):
    """The cheapest client: it waits for the mark at the end of an answer."""

    has_read: asyncio.Event

    def __init__(self, *address: Any) -> None:
        self._address = address
        self._transport: asyncio.WriteTransport | None = None
        self._mark = b""
        self._tail = b""
        self._ended = asyncio.Event()

    async def connect(self) -> None:
        """Connect anew: the server closes connections that have been idle for some seconds."""
        self.close()
        await asyncio.get_running_loop().create_connection(lambda: self, *self._address)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if b"data:" in data:
            Client.has_read.set()
        self._tail = (self._tail + data)[-64:]
        if self._mark in self._tail:
            self._ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()

    async def ask(self, flow: str, body: bytes, mark: bytes) -> None:
        assert self._transport is not None
        self._mark, self._tail = mark, b""
        self._ended.clear()
        self._transport.write(
            b"POST /%s HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (flow.encode(), len(body), body)
        )
        await self._ended.wait()
        if mark not in self._tail:
            raise ConnectionError(f"the answer of {flow} was cut: ...{self._tail!r}")


@asynccontextmanager
async def serving(app: FlowApp) -> AsyncGenerator[Client, None]:
    """Serve an app on loopback, with one client, in this event loop."""
    settings = HttpSettings(port=0)
    stop = anyio.Event()
    Client.has_read = asyncio.Event()
    with listen(settings) as sock:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server_of(settings), create_app(app, settings), sock, stop.wait)
            client = Client(*sock.getsockname()[:2])
            yield client
            client.close()
            stop.set()


def works(app: FlowApp, client: Client) -> dict[str, Work]:
    """Name what is counted."""

    async def simple_calls(count: int) -> None:
        cell = Cell()
        for number in range(count):
            cell.keep("number", number)

    async def burst(count: int) -> None:
        async with app.stream("burst", count=count) as chunks:
            async for _ in chunks:
                pass

    async def run(count: int) -> None:
        for _ in range(count):
            await app.execute("one")

    async def ops(count: int) -> None:
        for _ in range(count // MORE_OPS):
            await app.execute("more")
        for _ in range(count // MORE_OPS, 20):
            await app.execute("one")

    async def http_stream(flow: str, count: int) -> None:
        Client.has_read.set()
        await client.ask(flow, b'{"count": %d}' % count, b"data:[DONE]\n\n")

    async def http_burst(count: int) -> None:
        await http_stream("burst", count)

    async def http_texts(count: int) -> None:
        await http_stream("texts", count)

    async def http_paced(count: int) -> None:
        await http_stream("paced", count)

    async def http_at_once(count: int) -> None:
        await http_stream("at_once", count)

    async def requests(count: int) -> None:
        for _ in range(count):
            await client.ask("one", b"{}", b'"success":true')

    async def streams(count: int) -> None:
        for _ in range(count):
            await http_stream("burst", 1)

    return {
        SIMPLE_CALL: Work(simple_calls, 100, 1100),
        "a chunk of a burst": Work(burst, 200, 1200),
        "a run of one op": Work(run, 5, 25),
        "one more op of a run": Work(ops, 0, 20 * MORE_OPS),
        "a chunk of a burst over HTTP": Work(http_burst, 200, 1200),
        "a text of a burst over HTTP": Work(http_texts, 200, 1200),
        "a chunk at pace over HTTP": Work(http_paced, 10, 60),
        "a chunk at once over HTTP": Work(http_at_once, 10, 60),
        "a request": Work(requests, 5, 25),
        "a stream of one chunk": Work(streams, 5, 25),
    }


async def least(run: Callable[[int], Awaitable[object]], number: int) -> Counter[str]:
    """Count thrice, for a timer may come due meanwhile."""
    first, second, third = [await calls.count(run, number) for _ in range(3)]
    return first & second & third


async def main(mode: str) -> None:
    config = load_config({"flow": FLOWS})
    async with FlowApp(config) as app, serving(app) as client, asking() as (deltas, paced_deltas):
        all_works = {
            **works(app, client),
            "a delta of a burst": Work(deltas, 200, 1200),
            "a delta at pace": Work(paced_deltas, 10, 60),
        }
        for name, work in all_works.items():
            await client.connect()
            # What is done once and kept has no part in the cost.
            await work.run(work.much)
            await work.run(work.little)
            if mode == "instructions":
                await callgrind.count(name, work.run, work.little, work.much)
                continue
            little, much = [await least(work.run, number) for number in (work.little, work.much)]
            units = work.much - work.little
            per_unit = {what: (much[what] - little[what]) / units for what in (*calls.KINDS, *much)}
            print(json.dumps({"name": name, "counts": per_unit}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
