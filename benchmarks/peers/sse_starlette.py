# /// script
# dependencies = [
#     "sse-starlette==3.7.0", "starlette==1.10.0", "pydantic==2.14.3", "uvicorn[standard]==0.54.0",
# ]
# [tool.bench]
# title = "sse-starlette on uvicorn, by hand"
# tasks = ["T1"]
# settings = "uvicorn[standard]: uvloop, httptools; access log off"
# ///
"""Starlette with sse-starlette's response, as its documentation shows it."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import uvicorn
from pydantic import BaseModel
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


class Chunk(BaseModel):
    flow_id: str
    chunk_type: str = "answer"
    chunk: str
    done: bool = False
    metadata: dict[str, Any] = {}


async def health(_: Request) -> JSONResponse:
    return JSONResponse({"status": "healthy"})


async def words() -> AsyncGenerator[dict[str, str]]:
    flow_id = uuid4().hex
    for n in range(1000):
        yield {"data": Chunk(flow_id=flow_id, chunk=f"word {n} ").model_dump_json()}
    yield {"data": "[DONE]"}


async def burst(request: Request) -> EventSourceResponse:
    await request.json()
    return EventSourceResponse(words())


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/burst", burst, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
