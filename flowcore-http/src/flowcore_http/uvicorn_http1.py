"""One connection: uvicorn's HTTP/1.1, by httptools, with the faults mended.

This module and :mod:`flowcore_http.uvicorn_answer` are the only ones that know how uvicorn works
inside.

Uvicorn's own protocol sets no limit to the head of a request nor to the time that it takes, stops
reading while a pipelined request waits, so that it does not see the client leave, sends 100
(Continue) for requests that will be refused, answers malformed requests without a problem object,
loses the body of a request that asks for an upgrade, and resets connections whose answer is on its
way.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from flowcore_http.accepting import LOST_SECONDS, reason_of_loss
from flowcore_http.exchange import LINGER_SECONDS
from flowcore_http.peer import Peer
from flowcore_http.problem import HttpProblem
from flowcore_http.request_head import (
    MAX_HEAD_BYTES,
    MAX_PIPELINED_BYTES,
    Head,
    fault_of_fields,
    fault_of_host_or_coding,
    fault_of_line,
    fault_of_lines,
    fault_of_size,
)
from flowcore_http.uvicorn_answer import Answer, RequestHead, head_of_response

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.config import Config
    from uvicorn.server import ServerState

_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n")
_UPGRADE = re.compile(rb"(?i)\r\nupgrade:([^\r\n]*)(?=\r\n)")
_SPACE = 0x20
_TICK_SECONDS = 0.001

logger = logging.getLogger("flowcore.http.server")


@dataclass(frozen=True)
class Rules:
    """What holds for a connection.

    Attributes:
        app: The ASGI app that answers.
        keep_alive_timeout: Seconds within which the head of a request has to arrive.
        most_requests: How many requests are answered.
        check: Tells which requests are refused before the app sees them.
        refused: Called with what answers a request that the app never sees.
    """

    app: ASGI3Application
    keep_alive_timeout: float
    most_requests: float
    check: Callable[[Head], HttpProblem | None]
    refused: Callable[[HttpProblem], object]


def fault_of_request(head: Head) -> HttpProblem | None:
    """Return what is wrong with a request whose first line has been looked at, or None."""
    return fault_of_fields(head) or fault_of_host_or_coding(head)


class Http1Protocol(HttpToolsProtocol):
    """HTTP/1.1 between the bytes of a connection and the ASGI app.

    Args:
        rules: What holds for the connection.
        closed: Called when the connection is lost.
        config: Uvicorn's settings.
        state: What all connections of the server share.
        loop: The event loop.

    Attributes:
        over: Whether the connection is to be closed; what still comes is dropped.
        peer: What the app may know of the connection.
    """

    # The parser need not call these.
    on_message_begin: Any = None
    on_url: Any = None

    def __init__(
        self,
        rules: Rules,
        closed: Callable[[], object],
        config: Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(config, state, {}, loop)
        self.over = False
        self._rules = rules
        self._closed = closed
        self.peer = Peer()
        self._answer: Answer | None = None
        self._ahead = b""
        self._head: RequestHead | None = None
        self._fault: HttpProblem | None = None
        self._is_head = False
        self._stopping = False
        self._served = 0
        self._task: asyncio.Task[None] | None = None
        # Of the body: whether there is more to come, how much, if that is known, or else the last
        # bytes that came, and how many came that were none of its content.
        self._receiving = False
        self._remaining: int | None = 0
        self._tail = b""
        self._framing_bytes = 0
        # Of the wait for a head: since when, nan if there is none.
        self._idle_since = math.nan
        self._timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None

    # --- what the transport tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin to wait for a request."""
        super().connection_made(cast("asyncio.Transport", transport))  # uvloop's is none by type
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if not self.over:
            self._take(self._ahead + data if self._ahead else data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the request in progress."""
        self.over = True
        self.peer.lost = reason_of_loss(exc)
        self._disconnect()
        super().connection_lost(exc)
        for timer in (self._timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        self._ahead = b""
        if self._task is not None and not self._task.done():
            self.loop.call_later(LOST_SECONDS, self._task.cancel)
        self._closed()

    # --- what the server asks for ---

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, its handshake done."""
        return self.flow is not None  # pyright: ignore[reportUnnecessaryComparison]

    def shutdown(self) -> None:
        """Close the connection when what is in progress has ended."""
        self._stopping = True
        if self.over:
            self.transport.close()
        elif self.is_open and not self._is_answering:
            self._end()

    def abort(self) -> None:
        """Close the connection at once."""
        if self.is_open:
            self.transport.abort()

    # --- time ---

    def _wait_for_head(self) -> None:
        self._idle_since = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(self._rules.keep_alive_timeout, self._look_at_time)

    def _look_at_time(self) -> None:
        # One timer runs on while requests come and go.
        self._timer = None
        if self.over or math.isnan(self._idle_since):
            return
        seconds = self._rules.keep_alive_timeout
        rest = self._idle_since + seconds - self.loop.time()
        if rest > _TICK_SECONDS:
            self._timer = self.loop.call_later(rest, self._look_at_time)
        elif self._ahead:
            detail = f"The request did not arrive within {seconds:g} seconds."
            self._refuse(HttpProblem(408, "request_timeout", detail))
        else:
            self._end()

    # --- from bytes to requests ---

    @property
    def _is_answering(self) -> bool:
        return self._answer is not None and not self._answer.response_complete

    def _take(self, data: bytes) -> None:
        self._ahead = b""
        try:
            while data and not self.over:
                if self._receiving:
                    data = self._take_body(data)
                elif self._is_answering:
                    self._ahead = data
                    if len(data) > MAX_PIPELINED_BYTES:
                        self._end()
                    return
                else:
                    data = self._take_head(data)
        # A fault of one connection is nothing to the others.
        except Exception as error:  # noqa: BLE001
            logger.warning("a connection failed: %r", (error,))
            self.transport.abort()

    def _take_head(self, data: bytes) -> bytes:
        """Take a head, if it is all there, and return what follows it."""
        end = data.find(_END)
        head = data if end < 0 else data[: end + len(_END)]
        problem = fault_of_lines(head) or self._fault_of_start(head)
        if end < 0:
            self._ahead = data
            if problem is None and len(data) > MAX_HEAD_BYTES:
                problem = fault_of_size(data)
        elif problem is None:
            self._idle_since = math.nan
            self._receiving = True
            self._tail = b""
            self._framing_bytes = 0
            problem = self._feed(self._without_upgrade(head) if b"pgrade" in head.lower() else head)
        if problem is not None:
            self._ahead = data
            self._refuse(problem)
        return b"" if end < 0 else data[len(head) :]

    def _fault_of_start(self, head: bytes) -> HttpProblem | None:
        line = _REQUEST_LINE.match(head)
        if line is not None:
            self._head = RequestHead(line[1], line[2], line[3], [])
            self._is_head = line[1] == b"HEAD"
            return fault_of_line(self._head)
        if b"\r\n" not in head and head[0] > _SPACE:
            return None
        return _malformed("its first line is not a method, a target and a version")

    def _without_upgrade(self, head: bytes) -> bytes:
        # The parser would take what follows for another protocol, and not for a body.
        assert self._head is not None  # noqa: S101 - for the type checker
        self._head.headers.extend((b"upgrade", value.strip()) for value in _UPGRADE.findall(head))
        return _UPGRADE.sub(b"", head)

    def _take_body(self, data: bytes) -> bytes:
        """Take what belongs to the body, and return what follows it."""
        if self._remaining is None:
            return self._take_chunks(data)
        taken = data[: self._remaining]
        self._remaining -= len(taken)
        problem = self._feed(taken)
        if problem is None and self._receiving != bool(self._remaining):
            problem = _malformed("the end of its body is not clear")
        if problem is not None:
            self._refuse(problem)
        return data[len(taken) :]

    def _take_chunks(self, data: bytes) -> bytes:
        # The parser does not tell where a body ended. That can only be after an empty line, so it
        # gets no further than to one at a time.
        begin = 0
        view = memoryview(data)
        while begin < len(data) and self._receiving and not self.over:
            end = self._end_of_lines(data, begin)
            self._framing_bytes += end - begin
            problem = self._feed(view[begin:end])
            if problem is None and self._framing_bytes > MAX_HEAD_BYTES:
                problem = fault_of_size(_END)
            if problem is not None:
                self._refuse(problem)
            begin = end
        self._tail = (self._tail + data)[-3:]
        return data[begin:]

    def _end_of_lines(self, data: bytes, begin: int) -> int:
        if begin == 0 and (found := (self._tail + data[:3]).find(_END)) >= 0:
            return found + len(_END) - len(self._tail)
        found = data.find(_END, begin)
        return len(data) if found < 0 else found + len(_END)

    def _feed(self, data: bytes | memoryview) -> HttpProblem | None:
        try:
            self.parser.feed_data(data)  # pyright: ignore[reportOptionalMemberAccess]
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserInvalidMethodError:
            return HttpProblem(501, "not_implemented", "There is no such method.")
        except httptools.HttpParserError as error:
            return _malformed(str(error)[:200])
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
        self._fault = self._rules.check(head)
        if self._fault is None:
            self._begin(head)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._framing_bytes = 0
        if self._answer is not None:
            self._answer.held_back = False
            self._answer.body += body
            if len(self._answer.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            self._answer.message_event.set()

    def on_message_complete(self) -> None:
        """Take note that a request is whole."""
        self._receiving = False
        if self._fault is None and self._answer is not None:
            self._answer.held_back = False
            self._answer.more_body = False
            self._answer.message_event.set()

    # --- requests and their answers ---

    def _begin(self, head: RequestHead) -> None:
        self._served += 1
        length = next((value for name, value in head.headers if name == b"content-length"), b"0")
        is_chunked = any(name == b"transfer-encoding" for name, _ in head.headers)
        self._remaining = None if is_chunked else int(length)
        is_last = self._stopping or self._served >= self._rules.most_requests
        keep_alive = (
            not is_last and head.http_version == b"1.1" and self.parser.should_keep_alive()  # pyright: ignore[reportOptionalMemberAccess]
        )
        answer = Answer(self, head, keep_alive=keep_alive)
        self._answer = self.peer.upload = answer
        self._task = self.loop.create_task(answer.run_asgi(self._rules.app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        if self.over:
            return
        if self._receiving or self._stopping or not (self._answer and self._answer.keep_alive):
            self._end()
            return
        self._answer = self.peer.upload = None
        self.flow.resume_reading()
        self._wait_for_head()
        self._take(self._ahead)

    def cut(self) -> None:
        """Close the connection, for the answer will not be complete."""
        self._end()

    def fail(self, problem: HttpProblem) -> None:
        """Answer a request for the app, if it has not begun to, and close the connection."""
        self._refuse(problem)

    def _refuse(self, problem: HttpProblem) -> None:
        if self._answer is None or self._answer.is_silent:
            content = problem.content()
            fields = [(k.lower().encode(), v.encode()) for k, v in problem.all_headers().items()]
            fields += [(b"content-length", b"%d" % len(content)), (b"connection", b"close")]
            head = head_of_response(problem.status, fields)
            self.transport.write(head if self._is_head else head + content)
            self._rules.refused(problem)
        self._end()

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        self._disconnect()
        is_unread = self._receiving or bool(self._ahead)
        self._ahead = b""
        if not is_unread or self._stopping or self.transport.is_closing():
            self.transport.close()
            return
        # With bytes unread the connection would be reset, and the reset destroys an answer that
        # is still on its way.
        self.flow.resume_reading()
        with suppress(OSError, RuntimeError, NotImplementedError):
            self.transport.write_eof()
        self._linger_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _disconnect(self) -> None:
        if self._answer is not None and not self._answer.response_complete:
            self._answer.disconnected = True
            self._answer.message_event.set()
            self.flow.resume_writing()


def _malformed(reason: str) -> HttpProblem:
    return HttpProblem(400, "bad_request", f"The request is malformed: {reason}.")
