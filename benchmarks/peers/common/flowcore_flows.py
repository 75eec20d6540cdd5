"""The ops and flows of the peers that are flowcore."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

from flowcore import BaseAsyncOp, C, FlowStreamChunk, Message, Role
from flowcore.cli import main

ELEVEN = " >> ".join(["EchoOp()"] * 11)
CONFIG = """
backend: http
flow:
  echo: {flow_content: EchoOp()}
  burst: {flow_content: "%s", stream: true}
  relay: {flow_content: RelayOp(), stream: true}
  pace: {flow_content: PaceOp(), stream: true}
  hold: {flow_content: HoldOp(), stream: true}
  flood: {flow_content: FloodOp(), stream: true}
  one: {flow_content: EchoOp()}
  eleven: {flow_content: "%s"}
  census: {flow_content: CensusOp()}
llm:
  default: {backend: openai_compatible, model_name: bench, api_key: none, base_url: "%s"}
"""


@C.register_op()
class EchoOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        self.context.response.answer = self.context.query


@C.register_op()
class BurstOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        for n in range(1000):
            await self.context.add_stream_text(f"word {n} ")


@C.register_op()
class BurstOfChunksOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        for n in range(1000):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"word {n} "))


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
            await self.context.add_stream_text(f"{time.monotonic():.6f}")


@C.register_op()
class HoldOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await self.context.add_stream_text("hello")
        await asyncio.sleep(3600)


@C.register_op()
class FloodOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        text = "0" * self.context.size
        for _ in range(self.context.n):
            await self.context.add_stream_text(text)


@C.register_op()
class CensusOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        self.context.response.metadata |= {"tasks": len(asyncio.all_tasks()), "pool": pooled()}


def pooled() -> int:
    """Count the connections to the model's server, kept for the next question (Linux only)."""
    port = urlsplit(os.environ.get("BENCH_UPSTREAM", "")).port or 0
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(
        there.endswith(f":{port:04X}") and state == "01" for _, _, there, state, *_ in fields
    )


def serve(port: str, *settings: str, burst: str = "BurstOp()") -> None:
    """Serve the flows by flowcore's command."""
    upstream = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:9/v1")
    Path("bench.yaml").write_text(CONFIG % (burst, ELEVEN, upstream), encoding="utf-8")
    main(["config=bench.yaml", f"http.port={port}", *settings])
