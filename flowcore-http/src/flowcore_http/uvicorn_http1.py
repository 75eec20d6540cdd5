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
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from flowcore_http.accepting import LOST_SECONDS, reason_of_loss
from flowcore_http.empty_lines import EmptyLines
from flowcore_http.exchange import LINGER_SECONDS
from flowcore_http.patience import Patience
from flowcore_http.peer import Peer
from flowcore_http.problem import HttpProblem
from flowcore_http.raw_head import (
    RequestHead,
    fault_of_part,
    head_of,
    malformed,
    without_upgrade,
)
from flowcore_http.request_head import MAX_HEAD_BYTES, MAX_PIPELINED_BYTES, fault_of_size
from flowcore_http.uvicorn_answer import Answer, head_of_response

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from flowcore_http.uvicorn_server import Rules

_CONTINUE = b"100-continue"
_END = b"\r\n\r\n"

logger = logging.getLogger("flowcore.http.server")


class Http1Protocol(HttpToolsProtocol):
    """HTTP/1.1 between the bytes of a connection and the ASGI app.

    Args:
        rules: What holds for the connection.
        closed: Called with this when the connection is lost.
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
        closed: Callable[[Http1Protocol], object],
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
        # Of the body: whether there is more to come, how much, if that is known, or else where it
        # can end, and how much came that was none of its content.
        self._receiving = False
        self._remaining: int | None = 0
        self._lines = EmptyLines()
        self._framing_bytes = 0
        self._patience = Patience(loop, rules.keep_alive_timeout, self._give_up)
        self._linger_timer: asyncio.TimerHandle | None = None

    # --- what the transport tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin to wait for a request."""
        super().connection_made(cast("asyncio.Transport", transport))  # uvloop's is none by type
        self._patience.begin()

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
        self._patience.close()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self._ahead = b""
        if self._task is not None and not self._task.done():
            self.loop.call_later(LOST_SECONDS, self._task.cancel)
        self._closed(self)

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
            self.end()

    def abort(self) -> None:
        """Close the connection at once."""
        if self.is_open:
            self.transport.abort()

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
                        self.end()
                    return
                else:
                    data = self._take_head(data)
        # A fault of one connection is nothing to the others.
        except Exception as error:  # noqa: BLE001
            logger.warning("a connection failed: %r", (error,))
            self.transport.abort()

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
            self._lines = EmptyLines()
            self._framing_bytes = 0
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
            problem = malformed("the end of its body is not clear")
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
        try:
            self.parser.feed_data(data)  # pyright: ignore[reportOptionalMemberAccess]
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserInvalidMethodError:
            return HttpProblem(501, "not_implemented", "There is no such method.")
        except httptools.HttpParserError as error:
            return malformed(str(error)[:200])
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

    def _give_up(self) -> None:
        if self._ahead:
            seconds = self._rules.keep_alive_timeout
            detail = f"The request did not arrive within {seconds:g} seconds."
            self.refuse(HttpProblem(408, "request_timeout", detail))
        else:
            self.end()

    # --- requests and their answers ---

    def _begin(self, head: RequestHead) -> None:
        self._served += 1
        fields = dict(head.headers)
        is_chunked = b"transfer-encoding" in fields
        self._remaining = None if is_chunked else int(fields.get(b"content-length", b"0"))
        expects = head.http_version == b"1.1" and fields.get(b"expect", b"").lower() == _CONTINUE
        is_last = self._stopping or self._served >= self._rules.most_requests
        keep_alive = (
            not is_last and head.http_version == b"1.1" and self.parser.should_keep_alive()  # pyright: ignore[reportOptionalMemberAccess]
        )
        answer = Answer(self, head, keep_alive=keep_alive, held_back=expects)
        self._answer = self.peer.upload = answer
        self.peer.write_now = answer.write_now
        self._task = self.loop.create_task(answer.run_asgi(self._rules.app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        if self.over:
            return
        if self._receiving or self._stopping or not (self._answer and self._answer.keep_alive):
            self.end()
            return
        self._answer = self.peer.upload = self.peer.write_now = None
        self.flow.resume_reading()
        self._patience.begin()
        self._take(self._ahead)

    def refuse(self, problem: HttpProblem) -> None:
        """Answer without the app, if there is no answer yet, and close the connection."""
        if self._answer is None or self._answer.is_silent:
            content = problem.content()
            fields = [(k.lower().encode(), v.encode()) for k, v in problem.all_headers().items()]
            fields += [(b"content-length", b"%d" % len(content)), (b"connection", b"close")]
            head = head_of_response(problem.status, fields)
            self.transport.write(head if self._is_head else head + content)
            self._rules.refused(problem)
        self.end()

    def end(self) -> None:
        """Close the connection, so that what has been answered arrives."""
        if self.over:
            return
        self.over = True
        self._patience.close()
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
            self.peer.leave()
            self._answer.disconnected = True
            self._answer.message_event.set()
            self.flow.resume_writing()
