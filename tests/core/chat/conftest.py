from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

if sys.platform == "win32":
    collect_ignore = ["test_terminal.py"]  # there are no pseudo-terminals of this kind

CHAT = [sys.executable, "-m", "flowcore", "chat"]
OPS = r'''
from pathlib import Path

import anyio
from flowcore import BaseAsyncOp, C, ChunkEnum, FlowStreamChunk


@C.register_op()
class TalkOp(BaseAsyncOp):
    """Does what the question says."""

    async def async_execute(self):
        query = self.context.query
        if query == "fail":
            await self.say("Half an ")
            raise ValueError("on fire")
        if query == "wait":
            try:
                await self.say("I am waiting")
                await anyio.sleep(60)
            finally:
                Path("cancelled").write_text("")
        elif query == "escape":
            await self.say("safe \x1b]0;owned\x07\x1b[2J &#27;[31m end")
        elif query == "think":
            await self.say("hmm, let me see", ChunkEnum.THINK)
            call = {"id": "1", "name": "search", "arguments": '{"query": "tea"}'}
            await self.say(call, ChunkEnum.TOOL)
            await self.say("# Tea\n\nIt is **hot**.")
            await self.say({"prompt_tokens": 1200, "completion_tokens": 34}, ChunkEnum.USAGE)
        elif query == "count":
            for number in range(1, 101):
                await self.say(f"{number}. line-{number}-\n")
                await anyio.sleep(0.002)
        elif query == "slow":
            for number in range(40):
                await self.say(f"word-{number}- \u4e2d\u6587 ")
                await anyio.sleep(0.05)
        else:
            said = [message["content"] for message in self.context.get("messages", [])]
            await self.say(f"{query!r} after {said}")

    async def say(self, chunk, kind=ChunkEnum.ANSWER):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk=chunk, chunk_type=kind))
'''
CONFIG = """
imports: [talk_ops]
flow:
  talk:
    flow_content: TalkOp()
    stream: true
  trip:
    flow_content: TalkOp()
    stream: true
    input_schema:
      query: {type: string}
      days: {type: integer, description: how long}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a configuration `talk.yaml`."""
    (tmp_path / "talk_ops.py").write_text(OPS, encoding="utf-8")
    (tmp_path / "talk.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLOW", "NO_COLOR", "COLUMNS", "LINES"))
    }
    return {
        **kept,
        "TERM": "xterm-256color",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.fixture
def server(project: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The address of a service with the flows of the project."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flowcore", "config=talk", "http.host=127.0.0.1", "http.port=0"],
        cwd=project,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = next(line for line in process.stderr if "serving at" in line)
    yield line.split("serving at ")[1].split()[0]
    process.terminate()
    process.communicate(timeout=60)
