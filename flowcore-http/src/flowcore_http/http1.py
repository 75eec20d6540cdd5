"""One connection: Hypercorn's HTTP/1.1, without its HTTP/2 and with the faults mended.

This is the only module that knows how Hypercorn works inside.

Hypercorn's own protocol switches to HTTP/2 when a client asks for it, stops reading while a
pipelined request waits, so that it does not see the client leave, sends 100 (Continue) for requests
that will be refused, answers malformed requests without a body, and resets connections whose
answer is on its way.
"""

# Hypercorn's types are partly unknown, and its server does not expect another protocol.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h11
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.typing import ConnectionState, H11SendableEvent
from hypercorn.utils import parse_socket_addr

from flowcore_http.exchange import LINGER_SECONDS
from flowcore_http.idle_timer import IdleTimer
from flowcore_http.peer import Peer
from flowcore_http.problem import HttpProblem
from flowcore_http.request_head import MAX_PIPELINED_BYTES, fault_of_bytes, fault_of_lines

if TYPE_CHECKING:
    from flowcore_http.connections import ServerConfig

_CHUNKED = b"\r\nTransfer-Encoding: chunked\r\n"

Check = Callable[[h11.Request], HttpProblem | None]


class Http1Server(TCPServer):
    """Serves one connection: ``await Http1Server(…)``.

    Args:
        peer: What the app may know of the connection.
        check: Tells which requests are refused before the app sees them.
        *args: The arguments of Hypercorn's server.
    """

    protocol: Http1Protocol

    def __init__(self, peer: Peer, check: Check, *args: Any) -> None:
        super().__init__(*args)
        self.idle_task: Any = IdleTimer(self.loop, self.config.keep_alive_timeout)
        self._peer = peer
        self._check = check

    async def run(self) -> None:
        """Serve until both sides have finished."""
        try:
            socket = self.writer.get_extra_info("socket")
            async with TaskGroup(self.loop) as tasks:
                self._task_group = tasks
                self.protocol = self._peer.upload = Http1Protocol(
                    self._peer,
                    self._check,
                    self.app,
                    self.config,
                    self.context,
                    tasks,
                    ConnectionState(self.state),
                    self.writer.get_extra_info("ssl_object") is not None,
                    parse_socket_addr(socket.family, socket.getpeername()),
                    parse_socket_addr(socket.family, socket.getsockname()),
                    self.protocol_send,
                )
                self.protocol.transport = self.writer.transport
                self._peer.write_now = self.protocol.write_now
                await self.idle_task.restart(tasks, self._idle_timeout)
                await self._read_data()
                self.protocol.over = True
                await self.idle_task.stop()
        finally:
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        """Do what the protocol asks for: send, close, or tell whether the connection is idle."""
        if isinstance(event, RawData):
            transport = self.writer.transport
            if not transport.is_closing():
                transport.write(event.data)
                if not transport.get_write_buffer_size():
                    return
            event = RawData(data=b"")  # it waits until the client has read more, or is lost
        elif isinstance(event, Closed):
            self.protocol.over = True
            if self.protocol.is_unread and not (self.reader.at_eof() or self.writer.is_closing()):
                await self._close_gently()
                return
        elif isinstance(event, Updated) and self.protocol.over:
            return
        await super().protocol_send(event)

    async def _close_gently(self) -> None:
        # With bytes unread the connection would be reset, and the reset destroys an answer that
        # is still on its way; so the read loop goes on for a while.
        with suppress(OSError, RuntimeError, NotImplementedError):
            self.writer.write_eof()
        self.idle_task.start(LINGER_SECONDS, self._task_group, self._end_lingering)
        if self.context.terminated.is_set():
            self.idle_task.expire()

    async def _end_lingering(self) -> None:
        self.writer.close()

    async def _idle_timeout(self) -> None:
        if self.protocol.stream is None:
            await asyncio.shield(self._initiate_server_close())

    async def _initiate_server_close(self) -> None:
        if self.protocol.head_has_begun and not self.context.terminated.is_set():
            detail = (
                f"The request did not arrive within {self.config.keep_alive_timeout:g} seconds."
            )
            await self.protocol.refuse(HttpProblem(408, "request_timeout", detail))
        else:
            await super()._initiate_server_close()


class Http1Protocol(H11Protocol):
    """HTTP/1.1 between the bytes of a connection and the ASGI app.

    Args:
        peer: What the app may know of the connection.
        check: Tells which requests are refused before the app sees them.
        *args: The arguments of Hypercorn's protocol.

    Attributes:
        over: Whether the connection is to be closed; what still comes is dropped.
        transport: What the connection sends with.
    """

    connection: h11.Connection
    config: ServerConfig

    def __init__(self, peer: Peer, check: Check, *args: Any) -> None:
        super().__init__(*args)
        self.over = False
        self._peer = peer
        self.transport: asyncio.WriteTransport | None = None
        self._head = b""
        self._has_chunks = False
        self._check = check
        self._is_head = False
        self._loop = asyncio.get_running_loop()
        self._parsing = asyncio.Lock()

    @property
    def held_back(self) -> bool:
        """Whether the client waits for 100 (Continue) before it sends the body."""
        return self.connection.they_are_waiting_for_100_continue

    @property
    def is_whole(self) -> bool:
        """Whether the request has come to its end."""
        return self._request_is_whole

    async def ask_for(self) -> None:
        """Send 100 (Continue), if the client waits for it."""
        if self.held_back:
            event = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
            await self._send_h11_event(event)

    @property
    def is_unread(self) -> bool:
        """Whether the client may still be sending."""
        return not self._request_is_whole or bool(self._ahead)

    @property
    def head_has_begun(self) -> bool:
        """Whether a part of the head of a request is there, but not all of it."""
        return self.stream is None and not self.over and bool(self._ahead)

    @property
    def _request_is_whole(self) -> bool:
        # What comes then waits, also where it can only be rubbish, until there is an answer.
        return self.connection.their_state in {h11.DONE, h11.MUST_CLOSE}

    @property
    def _ahead(self) -> bytes:
        return self.connection.trailing_data[0]

    async def handle(self, event: Event) -> None:
        """Take what has come, or the news that the connection is lost."""
        if not isinstance(event, RawData):
            self._peer.leave()
            await super().handle(event)
        elif event.data and not self.over:
            self.connection.receive_data(event.data)
            if not self._request_is_whole:
                await self._handle_events()
            elif len(self._ahead) > MAX_PIPELINED_BYTES:
                await self._end()

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what the app has answered."""
        if isinstance(event, Response) and self.held_back:
            # The body that was announced will never come, so the connection ends with this answer.
            headers = [field for field in event.headers if field[0].lower() != b"connection"]
            event = replace(event, headers=[*headers, (b"connection", b"close")])
        await super().stream_send(event)

    def write_now(self, data: bytes) -> bool:
        """Send a part of an answer's body, if nothing of it waits to be sent."""
        transport = self.transport
        if (
            transport is None
            or not data  # which would be the last chunk
            or self.over
            or self._head
            or self.connection.our_state is not h11.SEND_BODY
            or transport.get_write_buffer_size()
            or transport.is_closing()
        ):
            return False
        # As h11 frames it; its state stays the same.
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._has_chunks else data)
        return True

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            # It goes with the first part of the body, which comes at once as a rule.
            self._head = data
            self._has_chunks = _CHUNKED in data
            self._loop.call_soon(self._send_head)
            return
        data = self._take_head() + data
        if data:
            await self.send(RawData(data=data))

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        return head

    def _send_head(self) -> None:
        # An app that fails right after it has begun to answer has the connection closed first.
        if self._head and not self.over and self.transport is not None:
            self.transport.write(self._take_head())

    async def refuse(self, problem: HttpProblem) -> None:
        """Answer without the app, if there is no answer yet, and close the connection."""
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = problem.content()
            headers = [
                (name.lower().encode(), value.encode())
                for name, value in problem.all_headers().items()
                if name != "Connection"
            ]
            headers += self.config.response_headers("h11")
            headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
            await self._send_h11_event(h11.Response(status_code=problem.status, headers=headers))
            if not self._is_head:
                await self._send_h11_event(h11.Data(data=body))
            await self._send_h11_event(h11.EndOfMessage())
            self.config.refused(problem)
        await self._end()

    async def _handle_events(self) -> None:
        async with self._parsing:
            while not (self.over or self._request_is_whole):
                if self.connection.their_state is h11.IDLE:
                    problem = fault_of_lines(self._ahead)
                    if problem is not None:
                        await self.refuse(problem)
                        return
                try:
                    event = self.connection.next_event()
                except h11.RemoteProtocolError as error:
                    await self.refuse(fault_of_bytes(error, self._ahead))
                    return
                if isinstance(event, h11.Request):
                    await self._begin(event)
                elif isinstance(event, h11.Data) and self.stream is not None:
                    await self.stream.handle(Body(stream_id=STREAM_ID, data=event.data))
                elif isinstance(event, h11.EndOfMessage) and self.stream is not None:
                    await self.stream.handle(EndBody(stream_id=STREAM_ID))
                else:
                    return

    async def _begin(self, request: h11.Request) -> None:
        await self.send(Updated(idle=False))
        self._is_head = request.method == b"HEAD"
        problem = self._check(request)
        if problem is None:
            await self._create_stream(request)
        else:
            await self.refuse(problem)

    async def _end(self) -> None:
        self._peer.leave()
        await self._close_stream()
        await self.send(Closed())

    async def _maybe_recycle(self) -> None:
        self._is_head = False
        await super()._maybe_recycle()
        if self._ahead and not self.over:
            self.task_group.spawn(self._handle_events)
