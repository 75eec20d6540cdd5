"""A user's folder: an op of their own, a YAML file and `.env`, and the command run in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.plugins.openai.upstream import Upstream
from tests.servers import SERVER

OP = """
from flowcore import BaseAsyncOp, C, ChunkEnum, FlowStreamChunk, Message, Role

SHOWN = [ChunkEnum.ANSWER, ChunkEnum.THINK, ChunkEnum.ERROR, ChunkEnum.TOOL]


@C.register_op()
class StreamChatOp(BaseAsyncOp):
    file_path: str = __file__

    async def async_execute(self):
        system = Message(role=Role.SYSTEM, content=self.context.system_prompt)
        async for chunk in self.llm.astream_chat([system] + self.context.messages):
            assert isinstance(chunk, FlowStreamChunk)
            if chunk.chunk_type in SHOWN:
                await self.context.add_stream_chunk(chunk)
"""

CONFIG = """
imports: [my_ops]
backend: http
thread_pool_max_workers: 128
http: {host: "0.0.0.0", port: 8002}
flow:
  demo_http_flow:
    flow_content: GenSystemPromptOp() >> ChatOp()
    description: "a chat \u52a9\u624b"
    input_schema:
      query: {type: string, description: "the question", required: true}
  demo_stream_http_flow:
    flow_content: GenSystemPromptOp() >> StreamChatOp()
    stream: true
    description: "a chat, streamed"
    input_schema:
      query:
        type: string
        description: "the question"
        required: true
llm:
  default:
    backend: openai_compatible
    model_name: qwen3-30b-a3b-instruct-2507
    params:
      temperature: 0.6
embedding_model:
  default:
    backend: openai_compatible
    model_name: text-embedding-v4
    params:
      dimensions: 1024
vector_store:
  default:
    backend: memory
    embedding_model: default
"""

Serve = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as stub:
        yield stub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The user's project."""
    (tmp_path / "my_ops.py").write_text(OP, encoding="utf-8")
    (tmp_path / "my_stream_config.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def write_env(folder: Path, upstream: Upstream) -> None:
    """Write a `.env` that a shell could source as well."""
    lines = [
        'export FLOW_LLM_API_KEY="sk-xxxx"',
        f'export FLOW_LLM_BASE_URL="{upstream.base_url}"',
        'export FLOW_EMBEDDING_API_KEY="sk-xxxx"',
        f'export FLOW_EMBEDDING_BASE_URL="{upstream.base_url}"',
    ]
    (folder / ".env").write_text("\n".join(lines), encoding="utf-8")


@contextmanager
def running(folder: Path, *settings: str) -> Generator[str]:
    """Run `flowcore SETTINGS` in the folder; the value is the address that it serves at."""
    # The installed command, not the module: the two differ in sys.path.
    ours = ["http.port=0", f"http.server={SERVER}"]
    command = [str(Path(sys.executable).with_name("flowcore")), *settings, *ours]
    env = {key: value for key, value in os.environ.items() if not key.startswith("FLOW")}
    process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        printed = ""
        for line in process.stderr:
            printed += line
            if found := re.search(r"serving at http://\S+:(\d+)", line):
                yield f"http://127.0.0.1:{found[1]}"
                break
        else:
            pytest.fail(f"the server did not start:\n{printed}")
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def serve(folder: Path) -> Serve:
    """Return `serve(*settings)`: the server of the folder, in a process of its own."""

    @asynccontextmanager
    async def start(*settings: str) -> AsyncGenerator[str]:
        manager = running(folder, *settings)
        url = await anyio.to_thread.run_sync(manager.__enter__)
        try:
            yield url
        finally:
            await anyio.to_thread.run_sync(manager.__exit__, None, None, None)

    return start


async def run_script(folder: Path, text: str) -> str:
    """Run a Python script in the folder and return what it printed."""
    script = folder / "client.py"
    script.write_text(textwrap.dedent(text), encoding="utf-8")
    result = await anyio.run_process(
        [sys.executable, "-X", "utf8", str(script)], check=False, cwd=folder
    )
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode()
