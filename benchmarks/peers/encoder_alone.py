# /// script
# dependencies = ["uvicorn[standard]==0.54.0"]
# [tool.bench]
# title = "limit: flowcore's encoder alone, on uvicorn"
# tasks = ["T1"]
# repo = ["flowcore", "flowcore-http"]
# settings = "uvicorn[standard]: uvloop, httptools; access log off; all events in one send"
# ///
"""What a burst costs without op, run and queue: making the texts, and encoding them."""

from __future__ import annotations

import sys
from typing import Any
from uuid import uuid4

import uvicorn

from flowcore import ChunkEnum
from flowcore_http.wire import EventEncoder

EVENTS = [(b"content-type", b"text/event-stream")]
HEALTHY = [(b"content-type", b"application/json")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("there is nothing but HTTP here")
    if scope["path"] == "/health":
        await send({"type": "http.response.start", "status": 200, "headers": HEALTHY})
        await send({"type": "http.response.body", "body": b"{}"})
        return
    while (await receive()).get("more_body"):
        pass
    encoder = EventEncoder(uuid4().hex)
    texts = [encoder.text(f"word {n} ", ChunkEnum.ANSWER) for n in range(1000)]
    await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
    body = encoder.events(texts, 1) + encoder.end(1001)
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, lifespan="off")
