"""One connection: uvicorn's HTTP/1.1, by httptools, with the faults mended.

This is the only module that knows how uvicorn works inside.

Uvicorn's own protocol sets no limit to the head of a request nor to the time that it takes, stops
reading while a pipelined request waits, so that it does not see the client leave, sends 100
(Continue) for requests that will be refused, answers malformed requests without a problem object,
loses the body of a request that asks for an upgrade, and resets connections whose answer is on its
way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from flowcore_http.connection import Connection
from flowcore_http.problem import HttpProblem
from flowcore_http.raw_head import RequestHead, head_of
from flowcore_http.request_head import fault_of_parse
from flowcore_http.rules import Rules

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState


class Http1Protocol(Connection, HttpToolsProtocol):
    """HTTP/1.1 between the bytes of a connection and the ASGI app.

    Args:
        rules: What holds for the connection.
        closed: Called with this when the connection is lost.
        config: Uvicorn's settings.
        state: What all connections of the server share.
        loop: The event loop.
    """

    __slots__ = ("_closed", "_head", "_paused")

    # The parser need not call these.
    on_message_begin: Any = None
    on_url: Any = None
    on_headers_complete: Any = None
    on_body: Any = None
    on_message_complete: Any = None

    def __init__(
        self,
        rules: Rules,
        closed: Callable[[Http1Protocol], object],
        config: Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        HttpToolsProtocol.__init__(self, config, state, {}, loop)
        Connection.__init__(self, rules, loop)
        self.parser: Any = None  # there is a new one for each head
        del self.pipeline  # which is kept in bytes here; an empty deque is large
        self._closed = closed
        self._paused = False
        self._head: RequestHead | None = None

    # --- what the transport tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin to wait for a request."""
        # uvloop's is none by its type
        HttpToolsProtocol.connection_made(self, cast("asyncio.Transport", transport))
        self.flow: Any = None  # an event with a deque for what a connection does by itself here
        self.begin()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self.take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the request in progress."""
        self.lose(exc)
        HttpToolsProtocol.connection_lost(self, exc)
        self._closed(self)

    def pause_reading(self) -> None:
        """Read no more of a request for now."""
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    # --- from bytes to requests ---

    def _parse(self, received: bytes) -> RequestHead | HttpProblem | None:
        head = self._head = head_of(received)
        if head is None:
            return None
        try:
            httptools.HttpRequestParser(self).feed_data(received)
        except httptools.HttpParserUpgrade:
            pass  # what follows is a body all the same
        except httptools.HttpParserInvalidMethodError:
            return HttpProblem(501, "not_implemented", "There is no such method.")
        except httptools.HttpParserError as error:
            return fault_of_parse(error)
        finally:
            self._head = None
        return head

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of a head."""
        assert self._head is not None  # noqa: S101 - for the type checker
        self._head.headers.append((name.lower(), value.rstrip(b" \t")))
