"""One request and its answer, as uvicorn sends it, with the faults mended.

Uvicorn sends the head of an answer and its body apart, chunks to clients of HTTP/1.0, and 100
(Continue) whenever the app receives; it looks into each header field by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from wsgiref.handlers import format_date_time

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from flowcore_http.peer import current_peer
from flowcore_http.problem import HttpProblem
from flowcore_http.raw_head import RequestHead

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGISendEvent, HTTPResponseStartEvent, HTTPScope

    from flowcore_http.uvicorn_http1 import Http1Protocol

_CRLF = b"\r\n"
_BODILESS = frozenset({204, 304})
_ASGI: Any = {"version": "3.0", "spec_version": "2.3"}

logger = logging.getLogger("flowcore.http.server")


class Answer(RequestResponseCycle):
    """One request and its answer.

    Args:
        protocol: The connection.
        head: The head of the request.
        keep_alive: Whether another request may follow over the connection.
        held_back: Whether the client waits for 100 (Continue) before it sends the body.

    Attributes:
        held_back: See above.
    """

    def __init__(
        self, protocol: Http1Protocol, head: RequestHead, *, keep_alive: bool, held_back: bool
    ) -> None:
        super().__init__(
            scope=_scope_of(protocol, head),
            transport=protocol.transport,
            flow=protocol.flow,
            logger=logger,
            access_logger=logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=protocol.on_response_complete,
        )
        self.held_back = held_back
        self._protocol: Http1Protocol | None = protocol
        self._peer = protocol.peer
        self._is_bodiless = head.method == b"HEAD"
        self._has_chunks = head.http_version == b"1.1"
        self._unsent = b""

    @property
    def is_silent(self) -> bool:
        """Whether nothing of the answer has been sent."""
        return not self.response_started or bool(self._unsent)

    @property
    def is_whole(self) -> bool:
        """Whether the request has come to its end."""
        return not self.more_body

    async def ask_for(self) -> None:
        """Send 100 (Continue), if the client waits for it."""
        if self.held_back and not self.disconnected:
            self.held_back = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Have the app answer."""
        current_peer.set(self._peer)
        protocol = self._protocol
        assert protocol is not None  # noqa: S101 - for the type checker
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            logger.exception("a request failed")
            if self.is_silent and not self.disconnected:
                detail = "The service failed on this request."
                protocol.refuse(HttpProblem(500, "internal_error", detail))
        finally:
            if not self.response_complete:
                protocol.end()
            self._protocol = None
            self.on_response = _nothing

    async def send(self, message: ASGISendEvent) -> None:
        """Send an event of the answer; its head goes with its body, if that comes at once."""
        protocol = self._protocol
        if self.disconnected or protocol is None:
            return
        if not self.response_started:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"the answer begins with {message['type']!r}")
            self.response_started = True
            self._unsent = self._head_of(message)
            protocol.loop.call_soon(self._send_head)
            return
        if message["type"] != "http.response.body" or self.response_complete:
            raise RuntimeError(f"{message['type']!r} is out of place in an answer")
        more_body = message.get("more_body", False)
        data = self._framed(message.get("body", b""), more_body)
        if self._unsent:
            data = self._unsent + data
            self._unsent = b""
        if data:
            self.transport.write(data)
            if self.flow.write_paused:
                await self.flow.drain()
        if not more_body and not self.disconnected:
            self.response_complete = True
            self.message_event.set()
            self.on_response()

    def write_now(self, data: bytes) -> bool:
        """Send a part of the body, if nothing of the answer waits to be sent."""
        transport = self.transport
        if (
            not self.response_started
            or self._unsent
            or self.disconnected
            or self.response_complete
            or not data
            or transport.get_write_buffer_size()
        ):
            return False
        transport.write(self._framed(data, more_body=True))
        return True

    def _send_head(self) -> None:
        if self._unsent and not self.disconnected:
            self.transport.write(self._unsent)
            self._unsent = b""

    def _head_of(self, message: HTTPResponseStartEvent) -> bytes:
        status = message["status"]
        fields = list(message.get("headers", []))
        for name, value in fields:
            match name.lower():
                case b"content-length":
                    self.chunked_encoding = False
                    self.expected_content_length = int(value)
                case b"connection" if b"close" in value.lower():
                    self.keep_alive = False
                case _:
                    pass
        self._is_bodiless |= status in _BODILESS
        if self.held_back:
            # The body that was announced will never come.
            self.keep_alive = False
        if self.chunked_encoding is None and not self._is_bodiless:
            if self._has_chunks:
                self.chunked_encoding = True
                fields.append((b"transfer-encoding", b"chunked"))
            else:
                self.keep_alive = False
        if self._is_bodiless:
            self.chunked_encoding = None
        if not self.keep_alive:
            fields = [(name, value) for name, value in fields if name.lower() != b"connection"]
            fields.append((b"connection", b"close"))
        return head_of_response(status, fields)

    def _framed(self, body: bytes, more_body: bool) -> bytes:
        if self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more_body else chunk + b"0\r\n\r\n"
        if self.chunked_encoding is None:
            return b"" if self._is_bodiless else body
        self.expected_content_length -= len(body)
        if self.expected_content_length < 0 or (self.expected_content_length and not more_body):
            raise RuntimeError("the body of an answer is not as long as its Content-Length says")
        return body


def head_of_response(status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a response, with the date."""
    parts = [STATUS_LINE[status], *(b"%b: %b\r\n" % field for field in fields)]
    head = b"".join((*parts, _date_field(int(time.time())), _CRLF))
    # One line for each part, or somebody has put a line end into a field.
    if head.count(b"\n") != len(parts) + 2 or head.count(b"\r") != len(parts) + 2 or b"\0" in head:
        raise RuntimeError("a header field of an answer has a line end or a NUL in it")
    return head


@lru_cache(maxsize=1)
def _date_field(seconds: int) -> bytes:
    return f"date: {format_date_time(seconds)}\r\n".encode()


def _scope_of(protocol: Http1Protocol, head: RequestHead) -> HTTPScope:
    path, _, query = head.target.partition(b"?")
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": head.http_version.decode(),
        "method": head.method.decode(),
        "scheme": protocol.scheme or "http",
        "path": unquote(path.decode()),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": head.headers,
        "client": protocol.client,
        "server": protocol.server,
        "state": {},
        "extensions": {},
    }


def _nothing() -> None:
    pass
