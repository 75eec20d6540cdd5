"""The connections of the HTTP client, which hand out the bodies of answers many chunks at a time.

The client's own parser takes about 15 microseconds for each chunk of a body, and a server that
streams sends each delta as one.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from typing import Any

import anyio
import anyio.abc
import httpcore2
import httpx2

from flowcore_openai.framing import ChunkedBody

_READ_BYTES = 64 * 1024
_HEAD_END = re.compile(rb"\n\r?\n")

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


class BodyStream(httpcore2.AsyncNetworkStream):
    """A connection that lets its user read a body past the HTTP client.

    The client gets the head of an answer and no byte of the body with it. Then either the client
    reads the body, as if this were any connection; or first :meth:`read_body` takes what it can,
    and the client reads the end, which to it is all there is.

    Args:
        inner: The connection.
    """

    def __init__(self, inner: httpcore2.AsyncNetworkStream) -> None:
        self._inner = inner
        # What it holds is read for half of what its own read takes, where that is known.
        self._plain: object = getattr(inner, "_stream", None)
        self._held = b""
        self._tail = b""
        self._in_head = False
        self._at_body = False
        self._body: ChunkedBody | None = None

    def take_body(self) -> bool:
        """Begin to read a chunked body; False where it must be left to the client."""
        if self._at_body:
            self._body = ChunkedBody()
            self._at_body = False
        return self._body is not None

    async def read_body(self) -> bytes:
        """Return the next piece of the body, or nothing where the client has to go on.

        Raises:
            httpcore2.NetworkError: If the connection breaks.
            httpcore2.RemoteProtocolError: If a chunk of the body is longer than it says.
        """
        while (body := self._body) is not None:
            if body.broken:
                raise httpcore2.RemoteProtocolError("a chunk of the body is longer than its size")
            data, self._held = self._held, b""
            if not data:
                data = await self._read_more()
            content = body.feed(data)
            taken = not data or not body.plain
            if taken and not body.broken:
                self._body = None
                self._held = body.rest
            if content:
                return content
        return b""

    async def _read_more(self) -> bytes:
        if not isinstance(self._plain, anyio.abc.ByteReceiveStream):
            return await self._inner.read(_READ_BYTES)
        try:
            return await self._plain.receive(_READ_BYTES)
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise httpcore2.ReadError(str(exc)) from exc

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Return bytes for the client."""
        self._at_body = False
        data, self._held = self._held, b""
        if not data:
            data = await self._inner.read(max_bytes, timeout)
        cut = max_bytes
        if self._in_head:
            # The end of the head may have begun in what was read before.
            seen = len(self._tail)
            if end := _HEAD_END.search(self._tail + data):
                cut = min(cut, end.end() - seen)
                self._in_head = False
                self._at_body = cut == end.end() - seen
            self._tail = (self._tail + data)[-2:]
        if len(data) > cut:
            data, self._held = data[:cut], data[cut:]
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send bytes of a request."""
        self._in_head = True
        self._at_body = False
        self._tail = b""
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        """Return the encrypted connection."""
        return BodyStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Return what is known of the connection."""
        if info == "is_readable" and self._held:
            return True
        return self._inner.get_extra_info(info)


class BodyBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections of this kind, each by another backend.

    Args:
        inner: The other backend.
    """

    def __init__(self, inner: httpcore2.AsyncNetworkBackend) -> None:
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Open a connection."""
        return BodyStream(
            await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        )

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Open a connection to a socket of this machine."""
        return BodyStream(await self._inner.connect_unix_socket(path, timeout, socket_options))

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._inner.sleep(seconds)


def use_body_streams(client: httpx2.AsyncClient) -> None:
    """Let a client open such connections, also those to its proxies.

    The client has no public option for it. Where a later version keeps its pool elsewhere, its
    answers are read as usual.
    """
    mounts: dict[Any, Any] = getattr(client, "_mounts", {})
    for transport in (getattr(client, "_transport", None), *mounts.values()):
        pool = getattr(transport, "_pool", None)
        if backend := getattr(pool, "_network_backend", None):
            setattr(pool, "_network_backend", BodyBackend(backend))  # noqa: B010
