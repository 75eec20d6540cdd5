"""The ops of the soak test."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time

from flowcore import BaseAsyncOp, BaseOp, C, ChunkEnum, Message, Role

FLOOD = "x" * 65536


@C.register_op()
class AskOp(BaseAsyncOp):
    """Streams the model's answer to the key of the request."""

    async def async_execute(self) -> None:
        messages = [Message(role=Role.USER, content=self.context.key)]
        async for chunk in self.llm.astream_chat(messages):
            if chunk.chunk_type is ChunkEnum.ANSWER:
                await self.context.add_stream_chunk(chunk)


@C.register_op()
class ThreadOp(BaseOp):
    """Blocks a thread for a moment, and emits from it."""

    def execute(self) -> None:
        time.sleep(0.01)
        self.context.add_stream_text_sync("from a thread", ChunkEnum.THINK)


@C.register_op()
class FloodOp(BaseAsyncOp):
    """Emits more than all buffers on the way can hold."""

    async def async_execute(self) -> None:
        for _ in range(400):
            await self.context.add_stream_text(FLOOD)


@C.register_op()
class CensusOp(BaseAsyncOp):
    """Counts what this process holds."""

    async def async_execute(self) -> None:
        gc.collect()
        self.context.response.metadata = {
            "pid": os.getpid(),
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
            "places": self.run.resources.threads.borrowed_tokens,
        }
        self.context.response.answer = "counted"
