"""Requests about a run that lives in another process of the same service.

Each process listens on a socket in a folder that only this user can enter. What comes in there was
forwarded by another process, so it is never forwarded again; no header has a say in that.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
from quart import Quart, Request, Response
from werkzeug.datastructures import Headers

from flowcore_http.connections import serve, server_config
from flowcore_http.forwarded import Forwarded, is_forwarded
from flowcore_http.problem import HttpProblem
from flowcore_http.settings import HttpSettings
from flowcore_http.streamed import BodyCutError, StreamedBody

ANSWER_SECONDS = 5.0
"""How long a process may take to begin its answer."""

_OF_THE_CONNECTION = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_LOST = (httpx.TransportError, OSError)

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
        # httpx would read the certificates of all authorities for each connection.
        self._ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    @asynccontextmanager
    async def listening(self, quart: Quart, settings: HttpSettings) -> AsyncGenerator[None]:
        """Answer what other processes forward, inside the block."""
        config = server_config(settings.model_copy(update={"certfile": None, "keyfile": None}))
        closing = anyio.Event()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(self._own))
            sock.listen(settings.backlog)
            sock.setblocking(False)
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(serve, Forwarded(quart), config, sock, closing.wait)
                    yield
                    closing.set()
            finally:
                self._own.unlink(missing_ok=True)

    async def ask(self, request: Request) -> Response | None:
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
        if is_forwarded(request):
            return None
        found: list[_Answer] = []
        silent: list[Path] = []

        async def ask_one(path: Path) -> None:
            answer = _Answer(httpx.AsyncHTTPTransport(uds=str(path), verify=self._ssl))
            try:
                with anyio.fail_after(ANSWER_SECONDS):
                    status = await answer.begin(request)
            except TimeoutError:
                silent.append(path)
            except _LOST:
                pass  # it has ended, or is about to
            else:
                if status == 503:
                    silent.append(path)
                elif status != 404 and not found:
                    found.append(answer)
                    tasks.cancel_scope.cancel()
                    return
            await answer.close()

        try:
            async with anyio.create_task_group() as tasks:
                for path in self._folder.glob("*.sock"):
                    if path != self._own:
                        tasks.start_soon(ask_one, path)
        except BaseException:
            for answer in found:
                await answer.close()
            raise
        if found:
            return found[0].response()
        if silent:
            detail = "The process that may know this run does not answer now; try again later."
            raise HttpProblem(503, "stopping", detail, {"Retry-After": "1"})
        return None


def socket_path(folder: Path, pid: int) -> Path:
    """Return where the process ``pid`` listens."""
    return folder / f"{pid}.sock"


class _Answer(StreamedBody):
    """A sibling's answer to a request; as the body of a response it is read while it is sent."""

    def __init__(self, transport: httpx.AsyncHTTPTransport) -> None:
        self._transport = transport
        self._answer: httpx.Response | None = None
        self._parts: AsyncIterator[bytes] | None = None

    async def begin(self, request: Request) -> int:
        """Send the request, and return the status of the answer."""
        self._answer = await self._transport.handle_async_request(_copy_of(request))
        return self._answer.status_code

    def response(self) -> Response:
        """Return the answer as a response of ours."""
        assert self._answer is not None  # noqa: S101 - for the type checker
        dropped = _OF_THE_CONNECTION - {"content-length"}
        headers = Headers(
            [(k, v) for k, v in self._answer.headers.multi_items() if k.lower() not in dropped]
        )
        self._parts = self._answer.aiter_raw()
        response = Response(self, status=self._answer.status_code, headers=headers)
        if "Content-Type" not in self._answer.headers:
            del response.headers["Content-Type"]
        response.timeout = None
        return response

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def __anext__(self) -> bytes:
        assert self._parts is not None  # noqa: S101 - for the type checker
        try:
            return await anext(self._parts)
        except _LOST as error:
            logger.warning("an answer of another process was cut: %r", error)
            raise BodyCutError("the process that answered is gone") from None

    async def close(self) -> None:
        """End the connection, whatever the sibling still has to say."""
        with anyio.CancelScope(shield=True):
            if self._answer is not None:
                await self._answer.aclose()
            await self._transport.aclose()


def _copy_of(request: Request) -> httpx.Request:
    scope = cast("dict[str, Any]", request.scope)
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    body = b"{}" if request.method == "POST" else b""
    headers = [(k, v) for k, v in request.headers.items() if k.lower() not in _OF_THE_CONNECTION]
    return httpx.Request(
        request.method,
        httpx.URL(scheme="http", host="worker", raw_path=path + (b"?" + query if query else b"")),
        headers=[(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers],
        content=body,
        extensions={"timeout": {"connect": ANSWER_SECONDS, "read": None, "write": ANSWER_SECONDS}},
    )
