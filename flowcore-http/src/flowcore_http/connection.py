"""One connection of HTTP/1.1: its requests, one after the other, and how it ends.

What parses the bytes is a matter of the server that carries the service.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from flowcore_http.accepting import LOST_SECONDS, reason_of_loss
from flowcore_http.answer import Answer, head_of_response, scope_of
from flowcore_http.chunked import ChunkedBody
from flowcore_http.exchange import LINGER_SECONDS
from flowcore_http.patience import Patience
from flowcore_http.peer import Peer
from flowcore_http.problem import HttpProblem
from flowcore_http.raw_head import RequestHead, fault_of_part, head_of
from flowcore_http.request_head import MAX_PIPELINED_BYTES, fault_of_lines
from flowcore_http.rules import Rules

_END = b"\r\n\r\n"
_CONTINUE = b"100-continue"

logger = logging.getLogger("flowcore.http.server")


class Connection:
    """One connection.

    Args:
        rules: What holds for it.
        loop: The event loop.

    Attributes:
        over: Whether the connection is to be closed; what still comes is dropped.
        peer: What the app may know of it.
        transport: What is sent with; None before the connection is open.
        scheme: ``http`` or ``https``.
        client: Address of the other end.
        server: Address of this end.
    """

    __slots__ = (
        *(
            "_ahead",
            "_answer",
            "_chunks",
            "_is_head",
            "_linger_timer",
            "_patience",
            "_receiving",
            "_remaining",
        ),
        *("_rules", "_served", "_stopping", "_task", "_writable"),
        *("client", "loop", "over", "peer", "scheme", "server", "transport"),
    )

    def __init__(self, rules: Rules, loop: asyncio.AbstractEventLoop) -> None:
        self.over = False
        self.peer = Peer()
        self.loop = loop
        self.transport: Any = None
        self.scheme: Any = "http"
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int | None] | None = None
        self._rules = rules
        self._answer: Answer | None = None
        self._task: asyncio.Task[None] | None = None
        self._ahead = b""
        self._is_head = False
        self._stopping = False
        self._served = 0
        self._writable: asyncio.Event | None = None
        # Of the body: whether there is more to come, and how much, if that is known.
        self._receiving = False
        self._remaining = 0
        self._chunks: ChunkedBody | None = None
        self._patience = Patience(loop, rules.keep_alive_timeout, self._give_up)
        self._linger_timer: asyncio.TimerHandle | None = None

    # --- for the server ---

    def begin(self) -> None:
        """Begin to wait for a request, when there is a transport."""
        if self._stopping:
            self.end()
        else:
            self._patience.begin()

    def take(self, data: bytes) -> None:
        """Take what has come."""
        if not self.over:
            self._take(self._ahead + data if self._ahead else data)

    def lose(self, exc: Exception | None = None) -> None:
        """Let go of the request in progress, for the client has left."""
        if self.peer.lost:
            return
        self.over = True
        self.peer.lost = reason_of_loss(exc)
        self._disconnect()
        self.resume_writing()
        self.resume_reading()
        self._patience.close()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self._ahead = b""
        if self._task is not None and not self._task.done():
            self.loop.call_later(LOST_SECONDS, self._task.cancel)

    def shut_down(self) -> None:
        """Close the connection when what is in progress has ended."""
        self._stopping = True
        if self.transport is None:
            return
        if self.over:
            self.transport.close()
        elif not self._is_answering:
            self.end()

    def abort(self) -> None:
        """Close the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    # --- from bytes to requests ---

    @property
    def _is_answering(self) -> bool:
        return self._answer is not None and not self._answer.complete

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
        parsed = fault_of_lines(received)
        if is_whole and parsed is None:
            parsed = self._parse(received)
        if isinstance(parsed, RequestHead):
            self._patience.end()
            if (problem := self._begin(parsed)) is not None:
                self._ahead = data[end:]
        else:
            self._ahead = data
            head = head_of(received)
            self._is_head = head is not None and head.method == b"HEAD"
            problem = fault_of_part(received, head, is_whole=is_whole) or parsed
        if problem is not None:
            self.refuse(problem)
        return data[end:] if is_whole else b""

    def _parse(self, received: bytes) -> RequestHead | HttpProblem | None:
        """Return what a whole head says, or why it is none; None if its first line tells."""
        raise NotImplementedError

    def _take_body(self, data: bytes) -> bytes:
        """Take what belongs to the body, and return what follows it."""
        if self._chunks is None:
            content, rest = data[: self._remaining], data[self._remaining :]
            self._remaining -= len(content)
            is_whole = not self._remaining
        else:
            content, rest = self._chunks.take(data)
            is_whole = self._chunks.is_whole
            if self._chunks.problem is not None:
                self.refuse(self._chunks.problem)
                return b""
        if self._answer is not None:
            if content:
                self._answer.feed(content)
            if is_whole:
                self._answer.end_request()
        if is_whole:
            self._receiving = False
            self._chunks = None
        return rest

    def _give_up(self) -> None:
        if self._ahead:
            seconds = self._rules.keep_alive_timeout
            detail = f"The request did not arrive within {seconds:g} seconds."
            self.refuse(HttpProblem(408, "request_timeout", detail))
        else:
            self.end()

    # --- requests and their answers ---

    def _begin(self, head: RequestHead) -> HttpProblem | None:
        """Have the app answer, or return why not."""
        fields = dict(head.headers)
        is_chunked = b"transfer-encoding" in fields
        self._chunks = ChunkedBody() if is_chunked else None
        self._remaining = 0 if is_chunked else int(fields.get(b"content-length", b"0"))
        self._receiving = is_chunked or self._remaining > 0
        self._is_head = head.method == b"HEAD"
        if (problem := self._rules.check(head)) is not None:
            return problem
        self._served += 1
        answer = Answer(
            self,
            head,
            keep_alive=(
                not self._stopping
                and self._served < self._rules.most_requests
                and head.http_version == b"1.1"
                and not (b"connection" in fields and _asks_to_close(head))
            ),
            held_back=(
                b"expect" in fields
                and fields[b"expect"].lower() == _CONTINUE
                and head.http_version == b"1.1"
            ),
        )
        self._answer = self.peer.upload = answer
        self.peer.write_now = answer.write_now
        scope = scope_of(self, head)
        answer.task = self._task = self.loop.create_task(answer.run(self._rules.app, scope))
        self._rules.running.add(self._task)
        if not self._receiving:
            answer.end_request()
        return None

    def finish(self, task: asyncio.Task[None] | None) -> None:
        """Let go of a task in which the app has answered."""
        if task is not None:
            self._rules.running.discard(task)

    def stream(self) -> None:
        """Take note that the answer is a stream, which may be long: timers are not small."""
        self._patience.rest()

    def answered(self) -> None:
        """Go on to the next request."""
        if self.over:
            return
        if self._receiving or self._stopping or not (self._answer and self._answer.keep_alive):
            self.end()
            return
        self._answer = self.peer.upload = self.peer.write_now = None
        self._is_head = False
        self.resume_reading()
        self._patience.begin()
        if self._ahead:
            self._take(self._ahead)

    def refuse(self, problem: HttpProblem) -> None:
        """Answer without the app, if there is no answer yet, and close the connection."""
        if self._answer is None or self._answer.is_silent:
            content = problem.content()
            fields = dict(problem.fields())
            fields |= {b"content-length": b"%d" % len(content), b"connection": b"close"}
            head = head_of_response(problem.status, fields.items())
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
        self.resume_reading()
        with suppress(OSError, RuntimeError, NotImplementedError):
            self.transport.write_eof()
        self._linger_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _disconnect(self) -> None:
        if self._answer is not None and not self._answer.complete:
            self.peer.leave()
            self._answer.leave()
            self.resume_writing()

    # --- more than the client takes, or the app ---

    def pause_writing(self) -> None:
        """Let who sends wait until the client has read more."""
        if self._writable is None:
            self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        """Let nobody wait any longer."""
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    async def drain(self) -> None:
        """Wait until the client has read enough, or has left."""
        if self._writable is not None:
            await self._writable.wait()

    def pause_reading(self) -> None:
        """Read no more of a request for now."""
        raise NotImplementedError

    def resume_reading(self) -> None:
        """Read on."""
        raise NotImplementedError


def _asks_to_close(head: RequestHead) -> bool:
    return any(n == b"connection" and b"close" in v.lower() for n, v in head.headers)
