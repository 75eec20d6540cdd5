"""The test kit for authors of ops and plugins: a scripted LLM, and flows run without a server.

Example::

    async def test_it_answers():
        llm = ScriptedLLM(["Hello", " Bob"])

        result = await run_op(StreamChatOp(llm=llm), query="Hi")

        assert result.text == "Hello Bob"
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
from anyio.lowlevel import checkpoint

from flowcore.app import FlowApp
from flowcore.config import load_config
from flowcore.catalog import Registrar
from flowcore.hookspecs import hookimpl
from flowcore.llm import BaseLLM
from flowcore.op import Op
from flowcore.run import Run, RunState
from flowcore.schema import ChunkEnum, FlowResponse, FlowStreamChunk, Message, Tool, ToolCall

__all__ = ["LLMCall", "RunResult", "ScriptedLLM", "ScriptedLLMPlugin", "collect", "run_op"]

Piece = str | FlowStreamChunk | ToolCall | BaseException | float
"""What a scripted reply consists of: text or a chunk to stream, an error to raise, a pause in s."""
