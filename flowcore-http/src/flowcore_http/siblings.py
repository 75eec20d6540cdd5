"""Requests about a run that lives in another process of the same service.

Each process listens on a socket in a folder that only this user can enter. What comes in there was
forwarded by another process, so it is never forwarded again; no header has a say in that.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import h11

from flowcore_http.connected import Connected
from flowcore_http.exchange import BodyCutError, Exchange
from flowcore_http.forwarded import Forwarded, is_forwarded
from flowcore_http.problem import HttpProblem, stopping
from flowcore_http.servers import server_of
from flowcore_http.settings import HttpSettings

ANSWER_SECONDS = 5.0
"""How long a process may take to begin its answer."""

_READ_BYTES = 65_536
_OF_THE_CONNECTION = frozenset(
    b"connection date expect keep-alive te trailer transfer-encoding upgrade".split()
)
_LOST = (OSError, EOFError, h11.ProtocolError)

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework

logger = logging.getLogger("flowcore.http.workers")


class Siblings:
    """The other processes of a service, as one of them sees them.

    Args:
        folder: The folder of their sockets.
        pid: The process that this one is.
    """

    def __init__(self, folder: Path, pid: int) -> None:
        self._folder = folder
        self._own = socket_path(folder, pid)

    @asynccontextmanager
    async def listening(self, app: ASGIFramework, settings: HttpSettings) -> AsyncGenerator[None]:
        """Answer what other processes forward, inside the block."""
        server = server_of(settings.model_copy(update={"certfile": None, "keyfile": None}))
        closing = anyio.Event()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(self._own))
            sock.listen(settings.backlog)
            sock.setblocking(False)
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(server, Forwarded(app), sock, closing.wait)
                    yield
                    closing.set()
            finally:
                self._own.unlink(missing_ok=True)

    async def ask(self, exchange: Exchange) -> Answer | None:
        """Return the answer of the process that knows the run of a request.

        All others are asked at once, with the same request but without its body. It is answered
        by the process that does not say 404.

        Returns:
            The answer, still to be read; None if no other process knows the run, or if the
            request has been forwarded already.

        Raises:
            HttpProblem: With status 503, if none of those that answer knows the run, but one does
                not answer, or is stopping.
        """
        if is_forwarded(exchange):
            return None
        found: list[Answer] = []
        silent: list[Path] = []

        async def ask_one(path: Path) -> None:
            answer = Answer()
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await answer.connect(path)
                    status = await answer.begin(exchange)
                if status == 503:
                    silent.append(path)
                elif status != 404 and not found:
                    found.append(answer)
                    tasks.cancel_scope.cancel()
            except TimeoutError:
                silent.append(path)
            except _LOST:
                pass  # it has ended, or is about to
            finally:
                if answer not in found:
                    answer.close()

        try:
            async with anyio.create_task_group() as tasks:
                for path in self._folder.glob("*.sock"):
                    if path != self._own:
                        tasks.start_soon(ask_one, path)
        except BaseException:
            for answer in found:
                answer.close()
            raise
        if found:
            return found[0]
        if silent:
            detail = "The process that may know this run does not answer now; try again later."
            raise HttpProblem(503, "stopping", detail, {"Retry-After": "1"})
        return None

    async def relay(self, exchange: Exchange, body: bytes) -> bool:
        """Have the process that began last answer a request; return False if that is this one.

        Args:
            exchange: The request.
            body: Its body, which has been read.

        Raises:
            HttpProblem: With status 503, if that process does not answer.
        """
        path = max(self._folder.glob("*.sock"), key=_began, default=self._own)
        if path == self._own:
            return False
        answer = Answer()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await answer.connect(path)
            await answer.begin(exchange, body)
        except (TimeoutError, *_LOST):
            answer.close()
            raise stopping() from None
        except BaseException:
            answer.close()
            raise
        await answer.pass_on(exchange)
        return True


def socket_path(folder: Path, pid: int) -> Path:
    """Return where the process ``pid`` listens."""
    return folder / f"{pid}.sock"


class Answer:
    """A sibling's answer to a request; it is read while it is passed on."""

    def __init__(self) -> None:
        self._protocol = h11.Connection(h11.CLIENT)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._head: h11.Response | None = None

    async def connect(self, path: Path) -> None:
        """Connect with a process."""
        # Not the sockets of anyio, which stumble when a read that has succeeded is cancelled.
        self._reader, self._writer = await asyncio.open_unix_connection(path)

    async def begin(self, exchange: Exchange, body: bytes | None = None) -> int:
        """Send a request, and return the status of the answer.

        Args:
            exchange: The request.
            body: What is sent as its body; by default as little as possible.
        """
        assert self._writer is not None  # noqa: S101 - for the type checker
        head, body = _copy_of(exchange, body)
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self._writer.write(self._protocol.send(event) or b"")
        await self._writer.drain()
        while not isinstance(event := await self._next_event(), h11.Response):
            pass
        self._head = event
        return event.status_code

    async def pass_on(self, exchange: Exchange) -> None:
        """Send it to the client.

        Raises:
            BodyCutError: If it ends too early.
        """
        exchange.at_end(lambda _reason: self.close())
        assert self._head is not None  # noqa: S101 - for the type checker
        own = {name for name, _ in exchange.extra}
        headers = [
            (name, value)
            for name, value in self._head.headers
            if name not in _OF_THE_CONNECTION and name not in own
        ]
        async with Connected(exchange):
            await exchange.start(self._head.status_code, headers)
            try:
                while isinstance(event := await self._next_event(), h11.Data):
                    await exchange.write(bytes(event.data))
            except _LOST as error:
                logger.warning("an answer of another process was cut: %r", error)
                raise BodyCutError("the process that answered is gone") from None
            await exchange.write(b"", more=False)

    async def _next_event(self) -> object:
        assert self._reader is not None  # noqa: S101 - for the type checker
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            self._protocol.receive_data(await self._reader.read(_READ_BYTES))
        if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            raise EOFError("there is no more to come")
        return event

    def close(self) -> None:
        """End the connection, whatever the sibling still has to say."""
        if self._writer is not None:
            self._writer.transport.abort()


def _began(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # it has just ended


def _copy_of(exchange: Exchange, body: bytes | None) -> tuple[h11.Request, bytes]:
    scope = exchange.scope
    received: list[tuple[bytes, bytes]] = list(scope["headers"])
    headers = [
        (name, value)
        for name, value in received
        if name.lower() not in _OF_THE_CONNECTION and name.lower() != b"content-length"
    ]
    if not any(name.lower() == b"host" for name, _ in headers):
        headers.append((b"host", b"worker"))  # HTTP/1.0 can do without
    if body is None:
        body = b"{}" if exchange.method == "POST" else b""
    headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    query: bytes = scope["query_string"]
    target: bytes = scope["raw_path"] + (b"?" + query if query else b"")
    return h11.Request(method=exchange.method, target=target, headers=headers), body
