"""A stub of an OpenAI-compatible server: real HTTP/1.1 over loopback, scripted byte by byte.

It stands in for a paid API, and misbehaves on demand. Each model name has its own behaviour::

    async with Upstream() as upstream:
        upstream.on("good", sse(delta("Hel"), delta("lo"), finish("stop"), DONE))
        upstream.on("flaky", status(503), sse(delta("ok"), finish(), DONE))   # one by one
        upstream.on("hangs", sse(delta("Hel"), HANG))
        ...  # call upstream.base_url with the model name
        assert upstream.requests[0].json["model"] == "good"
        await upstream.requests[0].gone.wait()     # the client has closed the connection

Several replies are given in turn, the last one again and again. A model that was not announced
gets the 404 of a real server. The stub needs asyncio and nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

# The structure of SO_LINGER: on, with a timeout of 0.
_LINGER_0 = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Step(Enum):
    """What a reply does in place of sending bytes, as its end."""

    HANG = "send nothing more and keep the connection open until the client closes it"
    EOF = "close the connection as it is; a chunked body then lacks its end"
    RESET = "break the connection with a TCP reset"


HANG, EOF, RESET = Step.HANG, Step.EOF, Step.RESET
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Pause:
    """Wait until a test sets ``event``, or the client leaves."""

    event: asyncio.Event


@dataclass(frozen=True)
class Drip:
    """Repeat ``data`` every ``interval`` seconds until the client leaves."""

    data: bytes
    interval: float = 0.01


@dataclass(frozen=True)
class Wait:
    """Wait so many seconds, or until the client leaves."""

    seconds: float


Part = bytes | Step | Pause | Drip | Wait


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        parts: Bytes to send, each in a write and an HTTP chunk of its own, and steps.
        status: HTTP status; 0 sends no head at all.
        headers: Headers; the transfer encoding is added.
        framing: ``"chunked"``, ``"length"`` or ``"close"`` (the body ends with the connection).
    """

    parts: tuple[Part, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    framing: str = "chunked"

    def split(self, *positions: int) -> Reply:
        """Return the same reply with its bytes cut at these positions; steps are left out."""
        body = self.body
        cuts = [0, *positions, len(body)]
        pieces = tuple(body[a:b] for a, b in itertools.pairwise(cuts) if a < b)
        return Reply(pieces, self.status, self.headers, self.framing)

    def split_everywhere(self) -> Reply:
        """Return the same reply, one byte at a time."""
        return self.split(*range(1, len(self.body)))

    @property
    def body(self) -> bytes:
        """All bytes of the body."""
        return b"".join(part for part in self.parts if isinstance(part, bytes))


@dataclass
class Request:
    """A request that arrived, and what became of its connection.

    Attributes:
        connection: Number of the TCP connection, counted from 1.
        method: HTTP method.
        path: Path with query.
        headers: Headers with names in lower case.
        json: Body, parsed.
        gone: Set when the connection is closed, by either side.
        gone_at: ``time.monotonic()`` of that.
    """

    connection: int
    method: str
    path: str
    headers: dict[str, str]
    json: Any
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    gone_at: float | None = None


Behaviour = Reply | Callable[[Request], Reply]


class Upstream:
    """The server; use it as an async context manager.

    Args:
        tls: Certificate and key to serve over TLS with.

    Attributes:
        requests: Every request so far.
        connections: How many TCP connections were accepted.
        open_connections: How many of them are open now.
        answering: How many requests are being answered now.
        port: Port on 127.0.0.1, chosen by the kernel.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: list[Request] = []
        self.connections = 0
        self.open_connections = 0
        self.answering = 0
        self.port = 0
        self._arrived = asyncio.Condition()
        self._behaviours: dict[str, Iterator[Behaviour]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        """What a client is configured with."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    def on(self, model: str, *behaviours: Behaviour) -> None:
        """Set the replies for a model: in turn, the last one repeated."""
        self._behaviours[model] = itertools.chain(behaviours, itertools.repeat(behaviours[-1]))

    async def arrived(self, count: int = 1) -> None:
        """Wait until so many requests have arrived."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A callback and not a coroutine: the tasks are ours to await.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        number = self.connections
        served: list[Request] = []
        try:
            while (request := await _read_request(reader, number)) is not None:
                served.append(request)
                async with self._arrived:
                    self.requests.append(request)
                    self._arrived.notify_all()
                self.answering += 1
                try:
                    if not await _send(self._reply(request), reader, writer):
                        break
                finally:
                    self.answering -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_connections -= 1
            writer.close()
            for request in served:
                request.gone_at = time.monotonic()
                request.gone.set()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _reply(self, request: Request) -> Reply:
        model = request.json.get("model")
        if model not in self._behaviours:
            return status(404, f"The model {model!r} does not exist")
        behaviour = next(self._behaviours[model])
        return behaviour if isinstance(behaviour, Reply) else behaviour(request)


def sse(*parts: Part | Mapping[str, Any], **headers: str) -> Reply:
    """Return an event stream: mappings become events, bytes and steps stay what they are."""
    return Reply(
        tuple(event(part) if isinstance(part, Mapping) else part for part in parts),
        headers={"content-type": "text/event-stream", **headers},
    )


def event(data: Mapping[str, Any]) -> bytes:
    """Return one event of a stream."""
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def document(data: Any, code: int = 200, **headers: str) -> Reply:
    """Return a JSON answer; in header names, ``_`` stands for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Reply((body,), code, {"content-type": "application/json", **named}, "length")


def status(code: int, message: str = "", **headers: str) -> Reply:
    """Return an error answer in the form of the OpenAI API."""
    return document({"error": {"message": message or f"status {code}"}}, code, **headers)


def delta(content: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a chunk of a streamed chat completion."""
    fields = {"content": content, **fields} if content is not None else fields
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def tool_delta(
    arguments: str | None = None,
    *,
    index: int | None = None,
    id: str | None = None,  # noqa: A002
    name: str | None = None,
) -> dict[str, Any]:
    """Return a chunk with one fragment of a tool call; fields that are None are left out."""
    function = {"name": name, "arguments": arguments}
    fragment = {
        "index": index,
        "id": id,
        "function": {key: value for key, value in function.items() if value is not None},
    }
    return delta(tool_calls=[{k: v for k, v in fragment.items() if v is not None}])


def finish(reason: str = "stop") -> dict[str, Any]:
    """Return the chunk with the finish reason."""
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """Return the chunk with the token counts."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"choices": [], "usage": {**counts, "total_tokens": prompt + completion}}


def embeddings(vector: Callable[[str], list[float]]) -> Callable[[Request], Reply]:
    """Return a behaviour that embeds each text with ``vector``, answering in reverse order."""

    def reply(request: Request) -> Reply:
        vectors = [vector(text) for text in request.json["input"]]
        items = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        return document({"data": items[::-1]})

    return reply


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, path, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(connection, method, path, headers, json.loads(body or b"{}"))


async def _send(reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Send a reply; return whether the connection may serve another request."""
    chunked = reply.framing == "chunked"
    if reply.status:
        writer.write(_head(reply))
    for part in reply.parts:
        match part:
            case bytes():
                writer.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
                await writer.drain()
            case Pause(event):
                if not await _unless_gone(reader, event.wait()):
                    return False
            case Drip(data, interval):
                piece = b"%x\r\n%s\r\n" % (len(data), data) if chunked else data
                while await _unless_gone(reader, asyncio.sleep(interval)):
                    writer.write(piece)
                    await writer.drain()
                return False
            case Wait(seconds):
                if not await _unless_gone(reader, asyncio.sleep(seconds)):
                    return False
            case Step.HANG:
                await reader.read(1)
                return False
            case Step.RESET:
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
                writer.transport.abort()
                return False
            case Step.EOF:
                return False
    if chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    return reply.framing != "close"


def _head(reply: Reply) -> bytes:
    framing = {
        "chunked": ("transfer-encoding", "chunked"),
        "length": ("content-length", str(len(reply.body))),
        "close": ("connection", "close"),
    }
    headers = [*reply.headers.items(), framing[reply.framing]]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {reply.status} Stub\r\n{lines}\r\n".encode("latin-1")


async def _unless_gone(reader: asyncio.StreamReader, waiting: Any) -> bool:
    """Await ``waiting``; return False as soon as the client leaves."""
    gone = asyncio.ensure_future(reader.read(1))
    wanted = asyncio.ensure_future(waiting)
    try:
        await asyncio.wait({gone, wanted}, return_when=asyncio.FIRST_COMPLETED)
        return not gone.done()
    finally:
        for task in (gone, wanted):
            task.cancel()
        await asyncio.gather(gone, wanted, return_exceptions=True)
