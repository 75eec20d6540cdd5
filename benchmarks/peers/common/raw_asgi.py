"""An application without a framework: what the server alone costs, at one send a chunk."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

JSON = [(b"content-type", b"application/json")]
EVENTS = [(b"content-type", b"text/event-stream")]


def event(flow_id: str, text: str) -> bytes:
    chunk = {
        "flow_id": flow_id,
        "chunk_type": "answer",
        "chunk": text,
        "done": False,
        "metadata": {},
    }
    return b"data: %b\n\n" % json.dumps(chunk).encode()


async def words() -> AsyncGenerator[bytes]:
    flow_id = uuid4().hex
    for n in range(1000):
        yield event(flow_id, f"word {n} ")
    yield b"data: [DONE]\n\n"


async def times(number: int, interval: float) -> AsyncGenerator[bytes]:
    flow_id = uuid4().hex
    for n in range(number):
        if n:
            await asyncio.sleep(interval)
        yield event(flow_id, f"{time.monotonic():.6f}")
    yield b"data: [DONE]\n\n"


async def zeros(number: int, size: int) -> AsyncGenerator[bytes]:
    flow_id = uuid4().hex
    for _ in range(number):
        yield event(flow_id, "0" * size)
    yield b"data: [DONE]\n\n"


async def hold(send: Any, receive: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
    first = event(uuid4().hex, "hello")
    await send({"type": "http.response.body", "body": first, "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    path = scope["path"]
    if path == "/health":
        await answer(send, {"status": "healthy"})
    elif path == "/echo":
        query = json.loads(body)["query"]
        await answer(send, {"answer": query, "success": True, "metadata": {}})
    elif path == "/burst":
        await stream(send, words())
    elif path == "/pace":
        asked = json.loads(body)
        await stream(send, times(asked["n"], asked["interval"]))
    elif path == "/hold":
        await hold(send, receive)
    elif path == "/flood":
        asked = json.loads(body)
        await stream(send, zeros(asked["n"], asked["size"]))
    else:
        await answer(send, {"title": "Not Found"}, 404)


async def answer(send: Any, value: Any, status: int = 200) -> None:
    body = json.dumps(value).encode()
    headers = [*JSON, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Any, events: AsyncGenerator[bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
    async for each in events:
        await send({"type": "http.response.body", "body": each, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
