"""One request and its answer, between a connection and the ASGI app.

The head of an answer is sent with the first part of its body, if that comes at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from wsgiref.handlers import format_date_time

from flowcore_http.peer import current_peer
from flowcore_http.problem import HttpProblem
from flowcore_http.raw_head import RequestHead

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework, ASGIReceiveEvent, ASGISendEvent, HTTPScope

    from flowcore_http.connection import Connection

_MAX_UNREAD_BYTES = 64 * 1024
"""How much of the body of a request waits for the app before no more is read."""

_BODILESS = frozenset({204, 304})
_ASGI: Any = {"version": "3.0", "spec_version": "2.3"}
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus
}

logger = logging.getLogger("flowcore.http.server")


class Answer:
    """One request and its answer.

    Args:
        connection: What they go over.
        head: The head of the request.
        keep_alive: Whether another request may follow over the connection.
        held_back: Whether the client waits for 100 (Continue) before it sends the body.

    Attributes:
        keep_alive: See above.
        held_back: See above.
        is_whole: Whether the request has come to its end.
        complete: Whether the answer was sent to its end.
        task: What the app answers in.
    """

    __slots__ = (
        *("_arrived", "_body", "_connection", "_has_chunks", "_has_news", "_is_bodiless", "_left"),
        *("_remaining", "_started", "_takes_chunks", "_transport", "_unsent"),
        *("complete", "held_back", "is_whole", "keep_alive", "task"),
    )

    def __init__(
        self, connection: Connection, head: RequestHead, *, keep_alive: bool, held_back: bool
    ) -> None:
        self.keep_alive = keep_alive
        self.held_back = held_back
        self.is_whole = False
        self.complete = False
        self.task: asyncio.Task[None] | None = None
        self._connection: Connection | None = connection
        self._transport = connection.transport
        self._body = bytearray()
        # Whether something has come or happened since the app has received, and who waits for it.
        self._has_news = False
        self._arrived: asyncio.Event | None = None
        self._left = False
        self._started = False
        self._unsent = b""
        self._is_bodiless = head.method == b"HEAD"
        self._takes_chunks = head.http_version == b"1.1"
        self._has_chunks = False
        self._remaining: int | None = None

    # --- what the connection tells ---

    @property
    def is_silent(self) -> bool:
        """Whether nothing of the answer has been sent."""
        return not self._started or bool(self._unsent)

    def feed(self, data: bytes) -> None:
        """Take a piece of the request's body."""
        self.held_back = False
        self._body += data
        if len(self._body) > _MAX_UNREAD_BYTES and self._connection is not None:
            self._connection.pause_reading()
        self._tell()

    def end_request(self) -> None:
        """Take note that the request is whole."""
        self.held_back = False
        self.is_whole = True
        self._tell()

    def leave(self) -> None:
        """Take note that the client has left."""
        self._left = True
        self._tell()

    def _tell(self) -> None:
        self._has_news = True
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None

    async def ask_for(self) -> None:
        """Send 100 (Continue), if the client waits for it."""
        if self.held_back and not self._left:
            self.held_back = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- what the app is given ---

    async def run(self, app: ASGIFramework, scope: HTTPScope) -> None:
        """Have the app answer."""
        connection = self._connection
        assert connection is not None  # noqa: S101 - for the type checker
        current_peer.set(connection.peer)
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            logger.exception("a request failed")
            if self.is_silent and not self._left:
                detail = "The service failed on this request."
                connection.refuse(HttpProblem(500, "internal_error", detail))
        finally:
            if not self.complete:
                connection.end()
            self._connection = None
            # The task knows this answer, by its context, for as long as it is known itself.
            task, self.task = self.task, None
            connection.finish(task)

    async def receive(self) -> ASGIReceiveEvent:
        """Receive an event of the request."""
        if not (self._has_news or self.complete):
            if self._arrived is None:
                self._arrived = asyncio.Event()
            await self._arrived.wait()
        if self._left or self.complete or self._connection is None:
            return {"type": "http.disconnect"}
        self._has_news = False
        body = bytes(self._body)
        self._body.clear()
        if len(body) > _MAX_UNREAD_BYTES:
            self._connection.resume_reading()
        return {"type": "http.request", "body": body, "more_body": not self.is_whole}

    async def send(self, message: ASGISendEvent) -> None:
        """Send an event of the answer."""
        connection = self._connection
        if self._left or connection is None:
            return
        if not self._started:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"the answer begins with {message['type']!r}")
            self._unsent = self._head_of(message["status"], message.get("headers", ()))
            self._started = True
            if self._remaining is None:
                # Nobody knows when a stream has something to say; its client knows that it began.
                connection.loop.call_soon(self._send_head)
                connection.stream()
            return
        if message["type"] != "http.response.body" or self.complete:
            raise RuntimeError(f"{message['type']!r} is out of place in an answer")
        more_body = message.get("more_body", False)
        data = self._framed(message.get("body", b""), more_body)
        if self._unsent:
            data = self._unsent + data
            self._unsent = b""
        if data:
            self._transport.write(data)
            if self._transport.get_write_buffer_size():
                await connection.drain()
        if not more_body and not self._left:
            self.complete = True
            self._tell()
            connection.answered()

    def _send_head(self) -> None:
        if self._unsent and not self._left:
            self._transport.write(self._unsent)
            self._unsent = b""

    def write_now(self, data: bytes) -> bool:
        """Send a part of the body, if nothing of the answer waits to be sent."""
        transport = self._transport
        if (
            not self._started
            or self._unsent
            or self._left
            or self.complete
            or not data
            or transport.get_write_buffer_size()
        ):
            return False
        transport.write(self._framed(data, more_body=True))
        return True

    # --- its bytes ---

    def _head_of(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        fields = {name.lower(): value for name, value in headers}
        self._is_bodiless |= status in _BODILESS
        # If the client holds the body back that it has announced, that will never come.
        if self.held_back or b"close" in fields.get(b"connection", b"").lower():
            self.keep_alive = False
        dropped = {b"transfer-encoding"}
        added: list[tuple[bytes, bytes]] = []
        if b"content-length" in fields:
            self._remaining = int(fields[b"content-length"])
        elif self._takes_chunks and not self._is_bodiless:
            self._has_chunks = True
            added.append((b"transfer-encoding", b"chunked"))
        elif not self._is_bodiless:
            self.keep_alive = False
        if not self.keep_alive:
            dropped.add(b"connection")
            added.append((b"connection", b"close"))
        if not dropped.isdisjoint(fields):
            headers = [field for field in headers if field[0].lower() not in dropped]
        return head_of_response(status, [*headers, *added])

    def _framed(self, body: bytes, more_body: bool) -> bytes:
        if self._is_bodiless:
            return b""
        if self._has_chunks:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more_body else chunk + b"0\r\n\r\n"
        if self._remaining is not None:
            self._remaining -= len(body)
            if self._remaining < 0 or (self._remaining and not more_body):
                text = "the body of an answer is not as long as its Content-Length says"
                raise RuntimeError(text)
        return body


def head_of_response(status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a response, with the date."""
    line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status
    lines = [line, *map(b": ".join, fields), _date_field(int(time.time())), b"\r\n"]
    head = b"\r\n".join(lines)
    # Or somebody has put a line end into a field.
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
        raise RuntimeError("a header field of an answer has a line end or a NUL in it")
    return head


@lru_cache(maxsize=1)
def _date_field(seconds: int) -> bytes:
    return f"date: {format_date_time(seconds)}".encode()


def scope_of(connection: Connection, head: RequestHead) -> HTTPScope:
    """Return what ASGI tells the app of a request."""
    path, _, query = head.target.partition(b"?")
    scope: Any = {
        "type": "http",
        "asgi": _ASGI,
        "http_version": head.http_version.decode(),
        "method": head.method.decode(),
        "scheme": connection.scheme or "http",
        "path": unquote(path.decode()) if b"%" in path else path.decode(),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": head.headers,
        "client": connection.client,
        "server": connection.server,
        "state": {},
        "extensions": {},
    }
    return scope
