"""One connection: Hypercorn's, its heads parsed by h11, with the faults mended.

This is the only module that knows how Hypercorn works inside.

Hypercorn's own protocol switches to HTTP/2 when a client asks for it, stops reading while a
pipelined request waits, so that it does not see the client leave, sends 100 (Continue) for requests
that will be refused, answers malformed requests without a body, and resets connections whose
answer is on its way. So it has another one here, which is the same on all servers.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.utils import parse_socket_addr  # pyright: ignore[reportUnknownVariableType]

from flowcore_http.connection import Connection
from flowcore_http.problem import HttpProblem
from flowcore_http.raw_head import RequestHead
from flowcore_http.request_head import fault_of_parse
from flowcore_http.rules import Rules


class Http1Server(TCPServer):
    """Serves one connection: ``await Http1Server(…)``.

    Args:
        connection: What the bytes are for.
        *args: The arguments of Hypercorn's server.
    """

    def __init__(self, connection: Http1Connection, *args: Any) -> None:
        super().__init__(*args)
        self._connection = connection

    async def run(self) -> None:
        """Serve until both sides have finished."""
        connection = self._connection
        writer = self.writer
        try:
            socket = writer.get_extra_info("socket")
            connection.client = parse_socket_addr(socket.family, socket.getpeername())
            connection.server = parse_socket_addr(socket.family, socket.getsockname())
            if writer.get_extra_info("ssl_object") is not None:
                connection.scheme = "https"
            connection.transport = writer.transport
            connection.begin()
            while data := await self.reader.read(MAX_RECV):
                connection.take(data)
                if connection.unread is not None:
                    await connection.unread.wait()
        finally:
            connection.lose()
            await self._close()


class Http1Connection(Connection):
    """HTTP/1.1 between the bytes of a connection and the ASGI app.

    Args:
        rules: What holds for the connection.
        loop: The event loop.

    Attributes:
        unread: Set when the app has taken what it was given too much of; None if it was not.
    """

    __slots__ = ("unread",)

    def __init__(self, rules: Rules, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(rules, loop)
        self.unread: asyncio.Event | None = None

    def _parse(self, received: bytes) -> RequestHead | HttpProblem:
        parser = h11.Connection(h11.SERVER)
        parser.receive_data(received)
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            error.__traceback__ = None  # it would hold this connection
            return fault_of_parse(error)
        assert isinstance(event, h11.Request)  # noqa: S101 - for the type checker
        headers = [(name.lower(), value) for name, value in event.headers.raw_items()]
        return RequestHead(event.method, event.target, event.http_version, headers)

    def pause_reading(self) -> None:
        """Read no more of a request for now."""
        if self.unread is None:
            self.unread = asyncio.Event()

    def resume_reading(self) -> None:
        """Read on."""
        if self.unread is not None:
            self.unread.set()
            self.unread = None
