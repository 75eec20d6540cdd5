"""One request and what answers it, between the ASGI server and the endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from flowcore_http.peer import Upload, current_peer
from flowcore_http.problem import HttpProblem

if TYPE_CHECKING:
    from hypercorn.typing import (
        ASGIReceiveCallable,
        ASGIReceiveEvent,
        ASGISendCallable,
        ASGISendEvent,
        HTTPScope,
    )

    from flowcore import Run

LINGER_SECONDS = 2.0
"""How long a client may go on sending a request that has been answered."""

Header = tuple[bytes, bytes]

JSON: tuple[Header, ...] = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
)
"""The headers of an answer in JSON that no cache may keep."""

_SCOPE_KEY = "flowcore.exchange"
_RUN_ID = b"x-run-id"


class Exchange:
    """One request, and its answer as far as it was sent.

    Args:
        scope: The ASGI scope of the request.
        receive: Receives what comes from the client.
        send: Sends what answers it.

    Attributes:
        scope: See above.
        method: The method of the request.
        path: The decoded path, without the path under which the app is mounted.
        endpoint: Name of the endpoint that answers, such as ``flow:demo``; empty if there is none.
        route: The path of that endpoint as it was declared, such as ``/runs/<run_id>``, or empty.
        caller: Name of the key that the request bears, or empty.
        began: When the request came, by the monotonic clock.
        extra: Headers that every answer to this request has.
        status: The status of the answer, or 0 if there was none.
        size: How many bytes of the answer's body were sent.
        sent_at: When something of it was sent last, by the monotonic clock.
        complete: Whether the answer was sent to its end.
        run: The run that the request started, or None.
        run_id: Identifier of the run that the answer is about, or empty.
        client_left: Whether the client left before the end.
        fields: The first header field of each name; the names are in lower case.
    """

    __slots__ = (
        *("_are_distinct", "_peer", "_receive", "_release", "_send", "_upload", "_whole"),
        *("began", "caller", "client_left", "complete", "endpoint", "extra", "fields"),
        *("method", "path"),
        *("route", "run", "run_id", "scope", "sent_at", "size", "status"),
    )

    def __init__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        self.scope: Any = scope
        self.method = scope["method"]
        root: str = self.scope.get("root_path", "")
        self.path = scope["path"].removeprefix(root) if root else scope["path"]
        self.endpoint = ""
        self.route = ""
        self.caller = ""
        self.began = self.sent_at = time.monotonic()
        self.extra: list[Header] = []
        self.status = 0
        self.size = 0
        self.complete = False
        self.run: Run | None = None
        self.run_id = ""
        self.client_left = False
        headers = [*scope["headers"]]
        self.fields = {name.lower(): value for name, value in reversed(headers)}
        self._are_distinct = len(self.fields) == len(headers)
        self._peer = current_peer.get()
        self._upload: Upload | None = self._peer.upload if self._peer is not None else None
        self._receive = receive
        self._send = send
        self._whole = False
        self._release: Callable[[str], object] | None = None

    # --- the request ---

    def field(self, name: bytes) -> str:
        """Return the header field ``name``, given in lower case, or an empty string.

        Of several the first one counts.
        """
        value = self.fields.get(name)
        return value.decode("latin-1") if value else ""

    def field_values(self, name: bytes) -> list[str]:
        """Return all header fields of a name."""
        if self._are_distinct:
            return [self.fields[name].decode("latin-1")] if name in self.fields else []
        return [v.decode("latin-1") for key, v in self.scope["headers"] if key.lower() == name]

    def forget_fields(self) -> None:
        """Let go of the header fields, once the answer has begun, for it may last for hours."""
        self.fields, self.extra = {}, []

    async def receive(self) -> ASGIReceiveEvent:
        """Receive an ASGI message of the client's, for apps that read by themselves."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._whole = not message.get("more_body", False)
            if self.status:
                # Nobody reads it any more, and Quart would keep it until the end of the answer.
                message["body"] = b""
        return message

    async def read_body(self, too_large: Callable[[int], Exception | None]) -> bytes:
        """Return the whole body of the request.

        Args:
            too_large: Returns what is to be raised at this size, or None.

        Raises:
            ClientLeftError: If the client left before the end of it.
        """
        parts: list[bytes] = []
        size = 0
        while not self._whole:
            message = await self._receive()
            if message["type"] != "http.request":
                self.client_left = True
                raise ClientLeftError
            part = message["body"]
            size += len(part)
            if (error := too_large(size)) is not None:
                raise error
            parts.append(part)
            self._whole = not message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def body_is_here(self) -> bool:
        """Whether the server is known to have the whole body; to read it takes no time then."""
        return self._upload is not None and self._upload.is_whole

    @property
    def body_is_held_back(self) -> bool:
        """Whether the client waits for :meth:`ask_for_body` before it sends the body."""
        return self._upload is not None and self._upload.held_back

    async def ask_for_body(self) -> None:
        """Let the client send the body, if it waits for that.

        Source: RFC 9110, section 10.1.1, "Expect".
        """
        if self._upload is not None:
            await self._upload.ask_for()

    async def wait_until_left(self) -> None:
        """Wait until the client leaves; what it still sends is dropped."""
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                break
            self._whole = not message.get("more_body", False)
        self.client_left = True

    def when_left(self, tell: Callable[[], object]) -> bool:
        """Have ``tell()`` called when the client leaves, or has left.

        Returns whether the server can tell; where it cannot, or the request has not come to its
        end, :meth:`wait_until_left` is what is needed.
        """
        peer = self._peer
        if peer is None or not (self._whole or self.body_is_here):
            return False
        peer.when_gone(tell)
        return True

    def stay(self) -> None:
        """Take :meth:`when_left` back."""
        if self._peer is not None:
            self._peer.when_gone(None)

    def at_end(self, release: Callable[[str], object]) -> None:
        """Have ``release(reason)`` called when the request has ended, or its client has left.

        It takes the place of what was given before. The reason is why the client left, if that is
        what ended the request.
        """
        self._release = release

    def end(self) -> None:
        """Let go of what the request holds."""
        release, self._release = self._release, None
        if release is not None:
            release((self._peer.lost if self._peer else "") or "client")

    # --- the answer ---

    async def send(self, message: ASGISendEvent) -> None:
        """Send an ASGI message of an app, and take note of it."""
        if message["type"] == "http.response.body":
            await self.write(message.get("body", b""), more=message.get("more_body", False))
        elif message["type"] == "http.response.start":
            headers = list(message["headers"])
            self.run_id = next((v.decode() for k, v in headers if k == _RUN_ID), self.run_id)
            await self.start(message["status"], headers)
        else:
            await self._send(message)

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        """Begin the answer."""
        self.status = status
        await self._out(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, *self.extra],
                "trailers": False,
            }
        )

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a part of the answer's body; the last one with ``more=False``."""
        await self._out({"type": "http.response.body", "body": data, "more_body": more})
        self.size += len(data)
        self.complete = not more
        self.sent_at = time.monotonic()

    def write_now(self, data: bytes, now: float) -> bool:
        """Send a part of the answer's body at once, and return whether that was possible.

        It is not where the client has not read what was sent before, and where the server does not
        offer it; :meth:`write` is for that.

        Args:
            data: The part.
            now: The time, by the monotonic clock.
        """
        peer = self._peer
        if peer is None or peer.write_now is None or not peer.write_now(data):
            return False
        self.size += len(data)
        self.sent_at = now
        return True

    async def answer(self, status: int, headers: Iterable[Header], body: bytes = b"") -> None:
        """Send a whole answer; to HEAD, without its body."""
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.write(b"" if self.method == "HEAD" else body, more=False)

    async def refuse(self, problem: HttpProblem) -> None:
        """Answer with a problem, and then drop what the client is still sending."""
        body, headers = problem.content(), problem.fields()
        if self._whole or self.client_left:
            await self.answer(problem.status, headers, body)
            return
        # Who waits for leave to send, and gets this, sends nothing.
        sends = not self.body_is_held_back
        await self.start(problem.status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.write(b"" if self.method == "HEAD" else body)
        # A connection that is closed with unread bytes is reset, and the reset destroys an answer
        # that is still on its way.
        if sends:
            try:
                async with asyncio.timeout(LINGER_SECONDS):
                    while not self._whole and (await self.receive())["type"] == "http.request":
                        pass
            except TimeoutError:
                pass
        await self.write(b"", more=False)

    async def _out(self, message: ASGISendEvent) -> None:
        try:
            await self._send(message)
        except OSError:
            self.client_left = True
            raise


class BodyCutError(Exception):
    """An answer cannot be sent to its end; the connection is closed, which tells so."""


class ClientLeftError(OSError):
    """Raised where a client has left and nobody is there to be answered."""


def exchange_of(scope: object) -> Exchange:
    """Return the exchange that an ASGI scope belongs to; see :func:`remember`."""
    return cast("dict[str, Any]", scope)[_SCOPE_KEY]


def remember(exchange: Exchange) -> None:
    """Let :func:`exchange_of` find an exchange by its scope."""
    exchange.scope[_SCOPE_KEY] = exchange


def forget(exchange: Exchange) -> None:
    """Undo :func:`remember`: scope and exchange would be a cycle, and stay for a while."""
    exchange.scope.pop(_SCOPE_KEY, None)
