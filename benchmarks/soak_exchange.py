"""One request and its answer, over a socket that can be read slowly, and broken at any time."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import h11

from flowcore.sse import SSEDecoder

SECONDS = 60.0
"""Longest time that anything may take."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Exchange:
    """One connection with one request, over a socket that can be broken in any way.

    Attributes:
        status: Status of the answer, once its head was read.
        run_id: The run that answers, if the answer names one.
        text: The answer so far, from the chunks of a stream.
        ids: The numbers of the events so far.
        error: The code of the error chunk, if there was one.
        done: Whether the end mark came.
        cut: Whether the connection ended before the answer did.
    """

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        self.status = 0
        self.run_id = ""
        self.text = ""
        self.ids: list[int] = []
        self.error = ""
        self.done = False
        self.cut = False
        self._ended = False
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.CLIENT)
        self._decoder = SSEDecoder()
        self._sock = socket.socket()
        self._sock.setblocking(False)
        if receive_buffer:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)

    def __repr__(self) -> str:
        return f"<{self.status} run {self.run_id} {self.error=} {self.done=} {self.cut=}>"

    async def __aenter__(self) -> Self:
        await self._loop.sock_connect(self._sock, ("127.0.0.1", self._port))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._sock.close()

    def reset(self) -> None:
        """Break the connection."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._sock.close()

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        part: float = 1,
    ) -> None:
        """Send a request, or the first part of one."""
        headers = {
            "Host": "soak",
            "Connection": "close",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }
        data = self._http.send(
            h11.Request(method=method, target=path, headers=list(headers.items()))
        )
        data = (data or b"") + (self._http.send(h11.Data(data=body)) or b"")
        self._http.send(h11.EndOfMessage())
        await self._loop.sock_sendall(self._sock, data[: int(len(data) * part)])

    async def next(self, size: int = 65536) -> bytes | None:
        """Return the next piece of the body; None at its end."""
        while not self._ended:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = b""
                with suppress(ConnectionError):
                    data = await self._loop.sock_recv(self._sock, size)
                if data:
                    self._http.receive_data(data)
                else:
                    # Every answer tells its length, so it ends before its connection.
                    self._ended = self.cut = True
            elif isinstance(event, h11.Response):
                self.status = event.status_code
                names = dict(event.headers)
                self.run_id = names.get(b"x-run-id", b"").decode()
                return b""
            elif isinstance(event, h11.Data):
                return bytes(event.data)
            else:
                self._ended = True
        return None

    async def follow(self, events: int = 1 << 30, size: int = 65536, pause: float = 0) -> None:
        """Read the events of a stream, at most so many, in pieces of ``size`` bytes."""
        while len(self.ids) < events and (data := await self.next(size)) is not None:
            for event in self._decoder.feed(data):
                self._take(event.id or "", event.event, event.data)
            if pause:
                await asyncio.sleep(pause)

    def _take(self, event_id: str, kind: str | None, data: str) -> None:
        if kind == "gap":
            self.error = "gap"
            return
        self.ids.append(int(event_id.rpartition("-")[2]))
        if data == "[DONE]":
            self.done = True
            return
        chunk = json.loads(data)
        if chunk["chunk_type"] == "error":
            self.error = chunk["metadata"]["code"]
        elif chunk["chunk_type"] == "answer":
            self.text += chunk["chunk"]

    async def read(self) -> bytes:
        """Read a body to its end."""
        body = b""
        while (data := await self.next()) is not None:
            body += data
        return body


async def ask(port: int, key: str, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """Make one request and return its status and its body."""
    async with asyncio.timeout(SECONDS), Exchange(port) as exchange:
        content = b"" if body is None else json.dumps(body).encode()
        await exchange.send(method, path, content, {"Authorization": f"Bearer {key}"})
        answer = await exchange.read()
        return exchange.status, answer
