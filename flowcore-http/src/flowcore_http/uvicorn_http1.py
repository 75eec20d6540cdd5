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

from flowcore_http.connection import Connection, Rules
from flowcore_http.empty_lines import EmptyLines
from flowcore_http.problem import HttpProblem
from flowcore_http.raw_head import RequestHead, fault_of_part, head_of, without_upgrade
from flowcore_http.request_head import (
    MAX_HEAD_BYTES,
    fault_of_parse,
    fault_of_size,
    unclear_body,
)

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

_END = b"\r\n\r\n"


class Http1Protocol(Connection, HttpToolsProtocol):
    """HTTP/1.1 between the bytes of a connection and the ASGI app.

    Args:
        rules: What holds for the connection.
        closed: Called with this when the connection is lost.
        config: Uvicorn's settings.
        state: What all connections of the server share.
        loop: The event loop.
    """

    __slots__ = ("_closed", "_fault", "_framing_bytes", "_head", "_lines", "_paused")

    # The parser need not call these.
    on_message_begin: Any = None
    on_url: Any = None

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
        del self.pipeline  # which is kept in bytes here; an empty deque is large
        self._closed = closed
        self._paused = False
        self._head: RequestHead | None = None
        self._fault: HttpProblem | None = None
        # Where a body in chunks can end, and how much came that was none of its content.
        self._lines = EmptyLines()
        self._framing_bytes = 0

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

    def _take_head(self, data: bytes) -> bytes:
        """Take a head, if it is all there, and return what follows it."""
        end = data.find(_END) + len(_END)
        is_whole = end >= len(_END)
        received = data[:end] if is_whole else data
        head = self._head = head_of(received)
        problem = fault_of_part(received, head, is_whole=is_whole)
        if problem is None and is_whole and head is not None:
            self._patience.end()
            self._receiving = True
            problem = self._feed(without_upgrade(received, head))
        if problem is not None or not is_whole:
            self._ahead = data
        if problem is not None:
            self._is_head = head is not None and head.method == b"HEAD"
            self.refuse(problem)
        return data[end:] if is_whole else b""

    def _take_body(self, data: bytes) -> bytes:
        """Take what belongs to the body, and return what follows it."""
        if self._remaining is None:
            return self._take_chunks(data)
        taken = data[: self._remaining]
        self._remaining -= len(taken)
        problem = self._feed(taken)
        if problem is None and self._receiving != bool(self._remaining):
            problem = unclear_body()
        if problem is not None:
            self.refuse(problem)
        return data[len(taken) :]

    def _take_chunks(self, data: bytes) -> bytes:
        # The parser does not tell where a body ended, so it gets no further than it can end.
        taken = 0
        for piece in self._lines.cut(data):
            self._framing_bytes += len(piece)
            problem = self._feed(piece)
            if problem is None and self._framing_bytes > MAX_HEAD_BYTES:
                problem = fault_of_size(_END)
            if problem is not None:
                self.refuse(problem)
            taken += len(piece)
            if self.over or not self._receiving:
                break
        return data[taken:]

    def _feed(self, data: bytes | memoryview) -> HttpProblem | None:
        in_head = self._head is not None
        try:
            self.parser.feed_data(data)  # pyright: ignore[reportOptionalMemberAccess]
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserInvalidMethodError:
            return HttpProblem(501, "not_implemented", "There is no such method.")
        except httptools.HttpParserError as error:
            return fault_of_parse(error) if in_head else unclear_body()
        return self._fault

    # --- what the parser tells ---

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of a head."""
        # The fields that follow a body in chunks are dropped.
        if self._head is not None:
            self._head.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Begin to answer, or refuse to."""
        assert self._head is not None  # noqa: S101 - for the type checker
        head, self._head = self._head, None
        self._fault = self._begin(head)
        if self._remaining is None:
            self._lines = EmptyLines()
            self._framing_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._framing_bytes = 0
        if self._answer is not None:
            self._answer.feed(body)

    def on_message_complete(self) -> None:
        """Take note that a request is whole."""
        self._end_request()
