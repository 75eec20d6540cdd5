"""What a model server says, through the OpenAI-compatible LLM."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from flowcore import BaseLLM, Message
from flowcore_openai.llm import OpenAICompatibleLLM
from flowcore_openai.settings import LLMSettings

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_DELTA = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1750000000,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "hello "}, "finish_reason": None}],
}


def _chunk(data: str) -> bytes:
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


_CHUNK = _chunk(json.dumps(_DELTA))
_END = _chunk("[DONE]") + b"0\r\n\r\n"


class _Server(asyncio.Protocol):
    """The cheapest model server; it says ``at_once`` deltas, and others when it is told."""

    at_once = 0
    latest: _Server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._received = b""
        _Server.latest = self

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"}"):  # of the body, which is read no further
            self._received = b""
            end = _END if self.at_once else b""
            self._transport.write(_HEAD + _CHUNK * (self.at_once or 1) + end)

    def say(self, more: bool) -> None:
        self._transport.write(_CHUNK if more else _END)


@asynccontextmanager
async def asking() -> AsyncGenerator[tuple[Callable[[int], Awaitable[None]], ...], None]:
    """Yield what asks for so many deltas: all at once, and one after the other."""
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    llm: BaseLLM = OpenAICompatibleLLM(LLMSettings(model_name="m", base_url=url))
    hello = [Message(content="hello")]

    async def burst(count: int) -> None:
        _Server.at_once = count
        async for _ in llm.astream_chat(hello):
            pass

    async def paced(count: int) -> None:
        _Server.at_once = 0
        async for _ in llm.astream_chat(hello):
            count -= 1
            if count >= 0:
                _Server.latest.say(more=count > 0)

    yield burst, paced
    await llm.aclose()
    server.close()
