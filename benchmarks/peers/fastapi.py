# /// script
# dependencies = ["fastapi==0.165.0", "uvicorn[standard]==0.54.0"]
# [tool.bench]
# title = "FastAPI + uvicorn, by hand"
# tasks = ["T1", "T2a", "T2b", "T2c", "T4", "T5", "T6", "T7", "T8a"]
# imports = "import fastapi, uvicorn"
# settings = "uvicorn[standard]: uvloop, httptools; access log off"
# ///
"""Forty lines of FastAPI, as people write them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()


class Question(BaseModel):
    query: str


class Pace(BaseModel):
    n: int
    interval: float


class Flood(BaseModel):
    n: int
    size: int


class Answer(BaseModel):
    answer: str
    success: bool = True
    metadata: dict[str, Any] = {}


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
async def echo(question: Question) -> Answer:
    return Answer(answer=question.query)


async def words() -> AsyncGenerator[str]:
    flow_id = uuid4().hex
    for n in range(1000):
        chunk = Chunk(flow_id=flow_id, chunk=f"word {n} ")
        yield f"data: {chunk.model_dump_json()}\n\n"
    yield "data: [DONE]\n\n"


@app.post("/burst")
async def burst(_: Question) -> StreamingResponse:
    return StreamingResponse(words(), media_type="text/event-stream")


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
async def pace(asked: Pace) -> StreamingResponse:
    return StreamingResponse(times(asked.n, asked.interval), media_type="text/event-stream")


@app.post("/hold")
async def hold(_: Question) -> StreamingResponse:
    return StreamingResponse(hello(), media_type="text/event-stream")


@app.post("/flood")
async def flood(asked: Flood) -> StreamingResponse:
    return StreamingResponse(zeros(asked.n, asked.size), media_type="text/event-stream")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
