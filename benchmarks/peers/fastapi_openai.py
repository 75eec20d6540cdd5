# /// script
# dependencies = ["fastapi==0.165.0", "uvicorn[standard]==0.54.0", "openai==3.54.0"]
# [tool.bench]
# title = "FastAPI + AsyncOpenAI, by hand"
# tasks = ["T3"]
# settings = "uvicorn[standard]: uvloop, httptools; access log off; one AsyncOpenAI"
# ///
"""A model's answer handed on by FastAPI, as people write it."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI
from pydantic import BaseModel

app = FastAPI()
client = AsyncOpenAI(base_url=os.environ["BENCH_UPSTREAM"], api_key="none")


class Question(BaseModel):
    query: str


class Chunk(BaseModel):
    flow_id: str
    chunk_type: str = "answer"
    chunk: str
    done: bool = False
    metadata: dict[str, Any] = {}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


async def relayed(query: str) -> AsyncGenerator[str]:
    flow_id = uuid4().hex
    stream = await client.chat.completions.create(
        model="bench", messages=[{"role": "user", "content": query}], stream=True
    )
    async for event in stream:
        if event.choices and event.choices[0].delta.content:
            chunk = Chunk(flow_id=flow_id, chunk=event.choices[0].delta.content)
            yield f"data: {chunk.model_dump_json()}\n\n"
    yield "data: [DONE]\n\n"


@app.post("/relay")
async def relay(question: Question) -> StreamingResponse:
    return StreamingResponse(relayed(question.query), media_type="text/event-stream")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
