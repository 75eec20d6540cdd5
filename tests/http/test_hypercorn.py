"""What flowcore-http knows of the inside of Hypercorn, so that an upgrade is looked at.

If this fails after an upgrade, compare the two versions of what is named, see whether
`flowcore_http.http1` still fits, and write down the new digest.
"""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import anyio
import pytest
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import AsyncioSingleTask
from hypercorn.utils import parse_socket_addr

from flowcore_http.access import note_refusal
from flowcore_http.connections import Connections, server_config
from flowcore_http.http1 import Http1Server
from flowcore_http.listener import listen
from flowcore_http.settings import HttpSettings

DIGESTS: dict[object, str] = {
    TCPServer: "3bfa72b319509f2b",
    AsyncioSingleTask: "305fdb8a3c30b8a5",
    parse_socket_addr: "d06f08a6dc9ef687",
}

REPLACED = {"run"}


def digest(thing: object) -> str:
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:16]  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", DIGESTS, ids=lambda thing: thing.__name__)
def test_what_is_extended_is_what_was_read(thing):
    assert digest(thing) == DIGESTS[thing], f"{thing.__qualname__} of Hypercorn has changed"


def test_what_is_replaced_is_there():
    shared = vars(Http1Server).keys() & vars(TCPServer).keys()

    assert {name for name in shared if not name.startswith("__")} == REPLACED


def test_the_settings_of_the_server_are_settings_of_hypercorn():
    ours = server_config(HttpSettings())
    known = set(dir(type(ours).__base__))

    assert {name for name in vars(ours) if not name.startswith("_")} - known == {"max_connections"}


async def test_a_client_that_leaves_while_nobody_reads_what_it_sends_is_let_go(post):
    async def read_nothing(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep_forever()

    settings = HttpSettings(port=0)
    connections = Connections(read_nothing, server_config(settings), note_refusal)
    with listen(settings) as sock, anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connections.acceptor.accept, sock)
            async with await anyio.connect_tcp(*sock.getsockname()[:2]) as client:
                await client.send(post("/any", b"x" * 100_000))
                while not connections:
                    await anyio.sleep(0.01)
                [connection] = connections._open.values()
                while connection.unread is None:
                    await anyio.sleep(0.01)
            while connections:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
