# /// script
# dependencies = [
#     "langserve[server]==0.3.3", "langchain-core==1.7.2", "fastapi==0.165.0",
#     "sse-starlette==1.8.2", "uvicorn[standard]==0.54.0",
# ]
# [tool.bench]
# title = "LangServe"
# tasks = ["T1", "T4", "T5"]
# imports = "import langserve, uvicorn"
# settings = "uvicorn[standard]: uvloop, httptools; access log off"
# paths = {echo = "/echo/invoke", burst = "/burst/stream"}
# bodies = {"*" = {input = "{fields}"}}
# ///
"""LangServe: a runnable for each endpoint."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from uuid import uuid4

import uvicorn
from fastapi import FastAPI
from langchain_core.runnables import RunnableGenerator, RunnableLambda
from langserve import add_routes
from pydantic import BaseModel

app = FastAPI()


class Chunk(BaseModel):
    flow_id: str
    chunk_type: str = "answer"
    chunk: str
    done: bool = False
    metadata: dict[str, Any] = {}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


async def echo(question: dict[str, Any]) -> dict[str, Any]:
    return {"answer": question["query"], "success": True, "metadata": {}}


async def words(_: AsyncIterator[dict[str, Any]]) -> AsyncGenerator[Chunk]:
    flow_id = uuid4().hex
    for n in range(1000):
        yield Chunk(flow_id=flow_id, chunk=f"word {n} ")


add_routes(app, RunnableLambda(echo).with_types(input_type=dict), path="/echo")
add_routes(app, RunnableGenerator(words).with_types(input_type=dict), path="/burst")

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
