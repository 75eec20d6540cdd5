# /// script
# dependencies = ["flowllm==0.2.0.9", "uvicorn[standard]==0.54.0"]
# [tool.bench]
# title = "FlowLLM 0.2.0.9"
# tasks = ["T1", "T2a", "T2b", "T2c", "T3", "T4", "T5", "T6", "T7", "T8a", "T8b"]
# imports = "from flowllm.core.op import BaseAsyncOp"
# settings = "uvicorn[standard]: uvloop, httptools; access log patched off, WARNING; ops send texts"
# ///
"""FlowLLM: the same ops and flows as flowcore's."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import time
from pathlib import Path

import uvicorn
from flowllm.core.context import C
from flowllm.core.enumeration import ChunkEnum, Role
from flowllm.core.op import BaseAsyncOp
from flowllm.core.schema import Message
from flowllm.main import FlowLLMApp
from loguru import logger

ELEVEN = " >> ".join(["EchoOp()"] * 11)
CONFIG = """
backend: http
init_logger: %s
enable_logo: false
thread_pool_max_workers: 128
http: {host: "127.0.0.1", port: %s, limit_concurrency: 20000}
flow:
  echo: {flow_content: EchoOp(), description: echo}
  burst: {flow_content: BurstOp(), stream: true, description: burst}
  relay: {flow_content: RelayOp(), stream: true, description: relay}
  pace: {flow_content: PaceOp(), stream: true, description: pace}
  hold: {flow_content: HoldOp(), stream: true, description: hold}
  flood: {flow_content: FloodOp(), stream: true, description: flood}
  one: {flow_content: EchoOp(), description: one op}
  eleven: {flow_content: "%s", description: eleven ops}
llm:
  default: {backend: openai_compatible, model_name: bench}
"""


@C.register_op()
class EchoOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        self.context.response.answer = self.context.query


@C.register_op()
class BurstOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        for n in range(1000):
            await self.context.add_stream_string_and_type(f"word {n} ", ChunkEnum.ANSWER)


@C.register_op()
class RelayOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        messages = [Message(role=Role.USER, content=self.context.query)]
        async for chunk in self.llm.astream_chat(messages):
            await self.context.add_stream_chunk(chunk)


@C.register_op()
class PaceOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        for n in range(self.context.n):
            if n:
                await asyncio.sleep(self.context.interval)
            now = f"{time.monotonic():.6f}"
            await self.context.add_stream_string_and_type(now, ChunkEnum.ANSWER)


@C.register_op()
class HoldOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await self.context.add_stream_string_and_type("hello", ChunkEnum.ANSWER)
        await asyncio.sleep(3600)


@C.register_op()
class FloodOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        text = "0" * self.context.size
        for _ in range(self.context.n):
            await self.context.add_stream_string_and_type(text, ChunkEnum.ANSWER)


if __name__ == "__main__":
    os.environ["FLOW_LLM_API_KEY"] = "none"
    os.environ["FLOW_LLM_BASE_URL"] = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:9/v1")
    as_it_comes = "BENCH_LOGS" in os.environ
    if not as_it_comes:
        logger.remove()
        logger.add(sys.stderr, level="WARNING")
        # It has no setting for the access log.
        uvicorn.run = functools.partial(uvicorn.run, access_log=False)
    config = CONFIG % (str(as_it_comes).lower(), sys.argv[1], ELEVEN)
    Path("bench.yaml").write_text(config, encoding="utf-8")
    with FlowLLMApp(config_path="bench.yaml") as app:
        app.run_service()
