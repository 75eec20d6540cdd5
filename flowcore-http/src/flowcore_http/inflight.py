"""The requests in progress and the runs that they started."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from quart import Request
from quart.asgi import ASGIHTTPConnection

from flowcore_http.peer import lost_because
from flowcore_http.streamed import BodyCutError

if TYPE_CHECKING:
    from hypercorn.typing import (
        ASGIFramework,
        ASGIReceiveCallable,
        ASGIReceiveEvent,
        ASGISendCallable,
        ASGISendEvent,
        Scope,
    )

_RELEASE = "flowcore.release"
_QUART_VERSION = tuple(int(part) for part in importlib.metadata.version("quart").split(".")[:2])


class InFlight:
    """ASGI middleware that counts requests, and lets go of what each of them holds.

    However a request ends, by a disconnect, a fault or a cancellation, it no longer reads its run
    then. What of its body comes after the answer has begun is dropped. WebSockets are refused.

    Args:
        app: The ASGI app that answers the requests.
    """

    def __init__(self, app: ASGIFramework) -> None:
        self._app = app
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.refusing = False

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000, "reason": None})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = cast("dict[str, Any]", scope)
        client_lost = False
        answering = False

        async def receive_from_client() -> ASGIReceiveEvent:
            message = await receive()
            if answering and message["type"] == "http.request":
                # Nobody reads it any more, and Quart would keep it until the end of the stream.
                message["body"] = b""
            return message

        async def send_to_client(message: ASGISendEvent) -> None:
            nonlocal answering, client_lost
            answering = True
            try:
                await send(message)
            except OSError:
                client_lost = True
                raise

        self._count += 1
        self._idle.clear()
        try:
            await self._app(scope, receive_from_client, send_to_client)
        except BodyCutError:
            pass  # the server closes a connection on which an answer is left unfinished
        except Exception:
            if not client_lost:
                raise
        finally:
            # Requests are parts of cycles, and must not hold runs until those are collected.
            release: Callable[[str], object] | None = entry.pop(_RELEASE, None)
            if release is not None:
                release(lost_because())
            self._count -= 1
            if not self._count:
                self._idle.set()

    @property
    def count(self) -> int:
        """How many requests are in progress."""
        return self._count

    def refuse_new(self) -> None:
        """Let the app answer all further requests with 503."""
        self.refusing = True

    async def wait_idle(self) -> None:
        """Wait until no request is in progress."""
        await self._idle.wait()


def at_end(request: Request, release: Callable[[str], object]) -> None:
    """Have ``release(reason)`` called when a request has ended.

    The reason is why its client left, if that is what ended it.
    """
    cast("dict[str, Any]", request.scope)[_RELEASE] = release


class _Connection(ASGIHTTPConnection):
    """Ends both tasks of a request before it returns, also when the server cancels it.

    Quart before 0.23, which is to say on Python before 3.13, leaves them running.
    """

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        request = self._create_request_from_scope(send)
        handler = asyncio.create_task(self.handle_request(request, send))
        receiver = asyncio.create_task(self.handle_messages(request, receive))
        tasks = (handler, receiver)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()


CONNECTION_CLASS = _Connection if _QUART_VERSION < (0, 23) else ASGIHTTPConnection
