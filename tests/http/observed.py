"""The command `flowcore` as a process of its own, whose log is read."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from anyio.streams.text import TextReceiveStream

from tests.servers import SERVER

CONFIG = """
imports: [observed_ops]
flow:
  greet: {flow_content: GreetOp(), stream: true}
  fail: {flow_content: FailOp(), stream: true}
  wait: {flow_content: WaitOp(), stream: true}
  hang: {flow_content: HangOp()}
  stubborn: {flow_content: StubbornOp(), stream: true}
  block: {flow_content: GreetOp() >> (GreetOp() | BlockOp()), stream: true}
"""
OPS = """
import time
import anyio
from flowcore import BaseAsyncOp, BaseOp, C, FlowStreamChunk

@C.register_op()
class GreetOp(BaseAsyncOp):
    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="hello"))

@C.register_op()
class FailOp(BaseAsyncOp):
    async def async_execute(self):
        raise ValueError("broken\\nin two")

@C.register_op()
class WaitOp(BaseAsyncOp):
    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="hello"))
        await anyio.sleep(self.context.get("seconds", 60))

@C.register_op()
class HangOp(BaseOp):
    def execute(self):
        time.sleep(60)

@C.register_op()
class StubbornOp(BaseAsyncOp):
    async def async_execute(self):
        while True:
            try:
                await anyio.sleep(0.5)
            except BaseException:
                pass

@C.register_op()
class BlockOp(BaseAsyncOp):
    async def async_execute(self):
        await anyio.sleep(0.01)
        time.sleep(self.context.get("seconds", 1))
"""


class Observed:
    """A running service and what it has written."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        self.url = ""
        self.log = ""

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of the log so far, where it is in JSON."""
        *lines, _ = self.log.split("\n")
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def logged(self, pattern: str) -> re.Match[str]:
        """Wait until a pattern stands in the log."""
        with anyio.fail_after(20):
            while not (found := re.search(pattern, self.log)):
                await anyio.sleep(0.01)
        return found

    async def record(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait for a record of which the condition holds."""
        with anyio.fail_after(20):
            while True:
                for record in self.records:
                    if condition(record):
                        return record
                await anyio.sleep(0.01)

    async def exit_code(self) -> int:
        """Ask the process to end, and wait until it does."""
        self.process.send_signal(signal.SIGTERM)
        with anyio.fail_after(20):
            return await self.process.wait()


@asynccontextmanager
async def observed(
    folder: Path, *settings: str, stderr: int | None = None, **variables: str
) -> AsyncGenerator[Observed]:
    """Run `flowcore config=c SETTINGS` with environment variables, and wait until it serves.

    Args:
        folder: Its working folder.
        *settings: Further arguments.
        stderr: Where its log goes to, if not here; then it has no `url`.
        **variables: Environment variables.
    """
    (folder / "observed_ops.py").write_text(OPS, encoding="utf-8")
    (folder / "c.yaml").write_text(CONFIG, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FLOW_", "FLOWCORE_"))}
    ours = ["config=c", "http.port=0", f"http.server={SERVER}"]
    command = [sys.executable, "-m", "flowcore", *ours, *settings]
    options: dict[str, Any] = {} if stderr is None else {"stderr": stderr}
    async with (
        await anyio.open_process(
            command, cwd=folder, env={**environment, **variables}, **options
        ) as process,
        anyio.create_task_group() as tasks,
    ):
        service = Observed(process)

        async def read_log() -> None:
            assert process.stderr is not None
            async for text in TextReceiveStream(process.stderr):
                service.log += text

        try:
            if stderr is None:
                tasks.start_soon(read_log)
                service.url = (await service.logged(r"serving at (http://\S+)"))[1]
            yield service
        finally:
            if process.returncode is None:
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.wait()
