"""A model inside the process: asked by hand, through the plugin, and through a flow over HTTP."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from pydantic_core import from_json

from flowcore import BaseAsyncOp, C, ChunkEnum, Message, Role
from flowcore.cli import main
from flowcore_llamacpp.request import encode_request

CONFIG = """
backend: http
flow:
  engine: {flow_content: EngineOp()}
  plugin: {flow_content: PluginOp()}
  ask: {flow_content: AskOp(), stream: true}
llm:
  default:
    backend: llamacpp
    model_name: smollm2
    params: {n_parallel: 8, n_ctx: 512, n_threads: %d}
"""
MESSAGES = [
    Message(role=Role.SYSTEM, content="Be brief."),
    Message(content="Why is the sky blue?"),
]
SAMPLING = {"temperature": 0, "seed": 7, "ignore_eos": True, "cache_prompt": False}
"""Every reply is as long as it may be, and each prompt is read as if it were the first."""


class Reply:
    """What one reader saw: when it was to ask, and when each token came.

    Args:
        asked: When it was to ask, by ``time.perf_counter``; if it came to ask later, it waits all
            the longer.
    """

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self.came: list[float] = []
        self.text = ""

    def add(self, text: str) -> None:
        """Note that a token came."""
        self.came.append(time.perf_counter())
        self.text += text

    def report(self) -> dict[str, Any]:
        """Return it for an answer in JSON."""
        first, last = self.came[0], self.came[-1]
        tokens = len(self.came)
        return {"asked": self.asked, "first": first, "last": last, "tokens": tokens} | {
            "text": self.text
        }


@C.register_op()
class EngineOp(BaseAsyncOp):
    """Asks the engine as one would by hand: a thread for each question, and a callback."""

    async def async_execute(self) -> None:
        self.context.response.answer = await anyio.to_thread.run_sync(self._ask_all)

    def _ask_all(self) -> list[Any]:
        # Not a second engine, for two would not measure alike.
        engine = self.llm._model.server()  # noqa: SLF001
        body = encode_request(MESSAGES, None, SAMPLING, {"max_tokens": self.context.tokens})

        def ask(reply: Reply) -> None:
            def came(data: bytes) -> bool:
                for choice in from_json(data)["choices"]:
                    if text := choice["delta"].get("content"):
                        reply.add(text)
                return False

            engine.handle_chat_completions(body, came)

        began = time.perf_counter()
        replies = [Reply(began + at) for at in self.context.at]
        threads = [threading.Thread(target=ask, args=[reply]) for reply in replies]
        for reply, thread in zip(replies, threads, strict=True):
            time.sleep(max(0.0, reply.asked - time.perf_counter()))
            thread.start()
        for thread in threads:
            thread.join()
        return [reply.report() for reply in replies]


@C.register_op()
class PluginOp(BaseAsyncOp):
    """Asks through the plugin, without a network."""

    async def async_execute(self) -> None:
        began = time.perf_counter()
        replies = [Reply(began + at) for at in self.context.at]

        async def ask(reply: Reply) -> None:
            params = {**SAMPLING, "max_tokens": self.context.tokens}
            async for chunk in self.llm.astream_chat(MESSAGES, **params):
                if chunk.chunk_type is ChunkEnum.ANSWER:
                    reply.add(str(chunk.chunk))

        async with anyio.create_task_group() as tasks:
            for reply in replies:
                await anyio.sleep(max(0.0, reply.asked - time.perf_counter()))
                tasks.start_soon(ask, reply)
        self.context.response.answer = [reply.report() for reply in replies]


@C.register_op()
class AskOp(BaseAsyncOp):
    """Streams a reply, as users' ops do."""

    async def async_execute(self) -> None:
        params = {**SAMPLING, "max_tokens": self.context.tokens}
        async for chunk in self.llm.astream_chat(MESSAGES, **params):
            await self.context.add_stream_chunk(chunk)


def serve(port: str, threads: int, *, one_core: bool) -> None:
    """Serve the flows by flowcore's command.

    Args:
        port: Where.
        threads: How many threads the engine gets.
        one_core: Whether all runs on the one core that servers are pinned to.
    """
    if sys.platform == "linux" and not one_core:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    Path("bench.yaml").write_text(CONFIG % threads, encoding="utf-8")
    main(["config=bench.yaml", f"http.port={port}"])
