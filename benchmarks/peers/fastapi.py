# /// script
# dependencies = ["fastapi==0.165.0", "uvicorn[standard]==0.54.0"]
# [tool.bench]
# title = "FastAPI + uvicorn, by hand"
# tasks = ["T1", "T4", "T5"]
# imports = "import fastapi, uvicorn"
# settings = "uvicorn[standard]: uvloop, httptools; access log off"
# ///
"""Forty lines of FastAPI, as people write them."""

from __future__ import annotations

import sys
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


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
