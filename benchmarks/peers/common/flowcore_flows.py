"""The ops and flows of the peers that are flowcore."""

from __future__ import annotations

import os
from pathlib import Path

from flowcore import BaseAsyncOp, C, FlowStreamChunk, Message, Role
from flowcore.cli import main

CONFIG = """
backend: http
flow:
  echo: {flow_content: EchoOp()}
  burst: {flow_content: BurstOp(), stream: true}
  relay: {flow_content: RelayOp(), stream: true}
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
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"word {n} "))


@C.register_op()
class RelayOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        messages = [Message(role=Role.USER, content=self.context.query)]
        async for chunk in self.llm.astream_chat(messages):
            await self.context.add_stream_chunk(chunk)


def serve(port: str, *settings: str) -> None:
    """Serve the flows by flowcore's command."""
    upstream = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:9/v1")
    Path("bench.yaml").write_text(CONFIG % upstream, encoding="utf-8")
    main(["config=bench.yaml", f"http.port={port}", *settings])
