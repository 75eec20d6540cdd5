"""The smoke test, run as a user runs it, against good and bad services."""

from __future__ import annotations

import os
import subprocess
import sys

import anyio
import anyio.abc
import pytest

from flowcore import BaseAsyncOp, ChunkEnum, FlowStreamChunk


class TalkOp(BaseAsyncOp):
    """Thinks, then repeats the question."""

    async def async_execute(self):
        think = FlowStreamChunk(chunk_type=ChunkEnum.THINK, chunk="hm")
        await self.context.add_stream_chunk(think)
        await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"you said {self.context.query}"))


class AnswerOp(BaseAsyncOp):
    """Answers."""

    async def async_execute(self):
        self.context.response.answer = f"{self.context.query} {self.context.count}"


class FailOp(BaseAsyncOp):
    """Fails."""

    async def async_execute(self):
        raise ValueError("no luck")


OPS = (TalkOp, AnswerOp, FailOp)
COUNT = {"type": "integer", "required": True}
FLOWS = {
    "talk": "TalkOp()",
    "answer": {
        "flow_content": "AnswerOp()",
        "input_schema": {"query": {"type": "string"}, "count": COUNT},
    },
    "fail": "FailOp()",
}


async def smoke(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "flowcore_http.smoke", *arguments]
    with anyio.fail_after(30):
        return await anyio.run_process(
            command, check=False, env={**os.environ, "PYTHONIOENCODING": "cp1252"}
        )


async def test_a_good_service_passes_and_its_stream_is_shown_by_type(serve):
    async with serve(FLOWS, *OPS) as server:
        result = await smoke(server.url, "--query", "what is 智")

    out = result.stdout.decode()
    assert result.returncode == 0, result.stderr
    assert 'health: {"status": "healthy"}' in out
    assert "'/talk'" in out
    assert "[think] hm" in out
    assert "you said what is ?" in out
    assert "what is ? 1" in out
    assert out.strip().endswith("smoke test passed")


async def test_one_flow_can_be_chosen_with_its_inputs(serve):
    async with serve(FLOWS, *OPS) as server:
        result = await smoke(server.url, "--flow", "answer", "--input", "count=7")

    assert result.returncode == 0
    assert b"what is ai 7" in result.stdout
    assert b"you said" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flow", "fail"], "flow 'fail' failed: ValueError: no luck"),
        (["--flow", "missing"], "there is no flow 'missing'"),
        (["--flow", "answer", "--input", 'count="x"'], "422"),
    ],
)
async def test_what_fails_is_told_and_the_exit_code_is_1(serve, arguments, message):
    async with serve(FLOWS, *OPS) as server:
        result = await smoke(server.url, *arguments)

    assert result.returncode == 1
    assert message in result.stderr.decode()
    assert "Traceback" not in result.stderr.decode()


async def test_a_service_that_is_not_there_is_one_clear_line():
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    result = await smoke(f"http://127.0.0.1:{port}")

    assert result.returncode == 1
    assert result.stderr.decode().startswith(
        f"smoke test failed: cannot reach http://127.0.0.1:{port}"
    )
    assert result.stderr.count(b"\n") == 1
