"""Accepting connections, up to a limit and a reserve that can still be told of it.

Whichever server the connections are for, they come through here.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

from flowcore_http.descriptors import connections_within_limit
from flowcore_http.problem import HttpProblem

RESERVE = 32
"""Connections beyond the limit that are told so, and may still ask for the health."""

CLOSE_SECONDS = 2.0
"""How long connections may take to close before they are aborted."""

LOST_SECONDS = 0.5
"""After what time a request whose connection is lost is cancelled, if it has not ended by itself.

It does, save where it waits for an app that reads no further.
"""

_PAUSE_SECONDS = 0.1
_WARNING_SECONDS = 60.0
_ACCEPTED_AT_ONCE = 64
_ALWAYS_ANSWERED = (b"/health", b"/ready")
_NOT_LISTENING = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}

logger = logging.getLogger("flowcore.http")


class Acceptor:
    """Accepts the connections of one server, and counts them.

    Args:
        max_connections: Most connections at a time; fewer if the system allows no more.
        begin: Called with each connection, and whether it is one beyond the limit. When it is
            closed, :meth:`release` is called.

    Attributes:
        count: How many connections there are.
    """

    def __init__(
        self, max_connections: int, begin: Callable[[socket.socket, bool], object]
    ) -> None:
        self.count = 0
        self._begin = begin
        self._limit = connections_within_limit(max_connections)
        self._places = asyncio.Semaphore(self._limit + RESERVE)
        self._loop = asyncio.get_running_loop()
        self._warned_at: dict[str, float] = {}

    async def accept(
        self,
        sock: socket.socket,
        retired: Callable[[], Awaitable[object]] = anyio.sleep_forever,
    ) -> None:
        """Accept connections until ``retired()`` returns.

        Beyond the limit and its reserve they wait in the kernel.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._accept_all, sock)
            await retired()
            tasks.cancel_scope.cancel()

    async def _accept_all(self, sock: socket.socket) -> None:
        while True:
            for _ in range(_ACCEPTED_AT_ONCE):
                await self._places.acquire()
                try:
                    connection = await self._accept_one(sock)
                except OSError as error:
                    self._places.release()
                    if error.errno in _NOT_LISTENING:
                        raise
                    # Most likely no more files can be opened; others will be closed some time.
                    self._warn("cannot accept connections: %s", error)
                    await asyncio.sleep(_PAUSE_SECONDS)
                else:
                    is_beyond = self.count >= self._limit
                    if is_beyond:
                        text = "all %d connections (http.max_connections) are in use"
                        self._warn(text, self._limit)
                    self.count += 1
                    self._begin(connection, is_beyond)
            await asyncio.sleep(0)

    def release(self) -> None:
        """Make room for another connection, after one was closed."""
        self.count -= 1
        self._places.release()

    async def _accept_one(self, sock: socket.socket) -> socket.socket:
        while True:
            try:
                connection, _ = sock.accept()
            except BlockingIOError:
                if sys.platform == "win32":
                    connection, _ = await self._loop.sock_accept(sock)
                else:
                    # Not sock_accept, which loses a connection if it is cancelled just then.
                    await anyio.wait_readable(sock)
                    continue
            connection.setblocking(False)
            return connection

    def _warn(self, text: str, *args: object) -> None:
        now = time.monotonic()
        if now >= self._warned_at.get(text, -math.inf) + _WARNING_SECONDS:
            self._warned_at[text] = now
            logger.warning(text, *args)


class OpenConnections(Protocol):
    """The open connections of one server.

    Attributes:
        acceptor: Accepts them.
    """

    acceptor: Acceptor

    async def close(self, patience: float) -> None:
        """Close all of them, and abort those that take longer than ``patience`` seconds."""
        ...


async def accept_until(
    stopped: Callable[[], Awaitable[object]],
    connections: OpenConnections,
    sock: socket.socket,
    retired: Callable[[], Awaitable[object]],
) -> None:
    """Accept connections until ``stopped()`` returns, then close the socket and all of them.

    When this is cancelled, they are aborted at once.

    Args:
        stopped: Returns when the service is to stop.
        connections: The connections.
        sock: The listening socket.
        retired: Returns when no more connections are to be accepted.
    """
    patience = 0.0
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connections.acceptor.accept, sock, retired)
            await stopped()
            patience = CLOSE_SECONDS
            tasks.cancel_scope.cancel()
    finally:
        sock.close()
        with anyio.CancelScope(shield=True):
            await connections.close(patience)


def fault_beyond_the_limit(target: bytes) -> HttpProblem | None:
    """Return what a request over a connection beyond the limit gets, or None if it is answered."""
    if target.partition(b"?")[0] in _ALWAYS_ANSWERED:
        return None
    detail = "All connections of the service are in use; try again later."
    return HttpProblem(503, "too_many_connections", detail, {"Retry-After": "1"})


def reason_of_loss(error: Exception | None) -> str:
    """Return why a connection was lost, from what the transport tells."""
    stalled = isinstance(error, OSError) and error.errno == errno.ETIMEDOUT
    return "write_timeout" if stalled else "client"
