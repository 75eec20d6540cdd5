# /// script
# dependencies = ["quart==0.22.0", "hypercorn==0.18.0", "pydantic==2.14.3"]
# [tool.bench]
# title = "Quart on Hypercorn, by hand"
# tasks = ["T1", "T2a", "T2b", "T2c", "T4", "T5", "T6", "T7", "T8a"]
# imports = "import quart, hypercorn.asyncio"
# settings = "Hypercorn's defaults: asyncio, h11; no access log"
# ///
"""Plain Quart, as its documentation shows it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

from hypercorn.asyncio import serve
from hypercorn.config import Config
from pydantic import BaseModel
from quart import Quart, request

app = Quart(__name__)


class Chunk(BaseModel):
    flow_id: str
    chunk_type: str = "answer"
    chunk: str
    done: bool = False
    metadata: dict[str, Any] = {}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/echo")
async def echo() -> dict[str, Any]:
    question = await request.get_json()
    return {"answer": question["query"], "success": True, "metadata": {}}


async def words() -> AsyncGenerator[str]:
    flow_id = uuid4().hex
    for n in range(1000):
        chunk = Chunk(flow_id=flow_id, chunk=f"word {n} ")
        yield f"data: {chunk.model_dump_json()}\n\n"
    yield "data: [DONE]\n\n"


@app.post("/burst")
async def burst() -> Any:
    await request.get_json()
    return words(), {"Content-Type": "text/event-stream"}


async def times(number: int, interval: float) -> AsyncGenerator[str]:
    flow_id = uuid4().hex
    for n in range(number):
        if n:
            await asyncio.sleep(interval)
        chunk = Chunk(flow_id=flow_id, chunk=f"{time.monotonic():.6f}")
        yield f"data: {chunk.model_dump_json()}\n\n"
    yield "data: [DONE]\n\n"


async def hello() -> AsyncGenerator[str]:
    chunk = Chunk(flow_id=uuid4().hex, chunk="hello")
    yield f"data: {chunk.model_dump_json()}\n\n"
    await asyncio.sleep(3600)


async def zeros(number: int, size: int) -> AsyncGenerator[str]:
    flow_id = uuid4().hex
    for _ in range(number):
        chunk = Chunk(flow_id=flow_id, chunk="0" * size)
        yield f"data: {chunk.model_dump_json()}\n\n"
    yield "data: [DONE]\n\n"


@app.post("/pace")
async def pace() -> Any:
    asked = await request.get_json()
    return times(asked["n"], asked["interval"]), {"Content-Type": "text/event-stream"}


@app.post("/hold")
async def hold() -> Any:
    await request.get_json()
    return hello(), {"Content-Type": "text/event-stream"}


@app.post("/flood")
async def flood() -> Any:
    asked = await request.get_json()
    return zeros(asked["n"], asked["size"]), {"Content-Type": "text/event-stream"}


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    asyncio.run(serve(app, config))
