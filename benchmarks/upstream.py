"""An OpenAI-compatible server that answers at once with 1,000 deltas, for T3.

All bytes are made beforehand, so that what hands them on is what is measured. Each delta is an
HTTP chunk of its own, as real servers send them, but all go out in one write.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cores import Cores

DELTAS = [f"word {n} " for n in range(1000)]
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1750000000,
        "model": "bench",
        "system_fingerprint": "fp_bench",
        "choices": [choice],
    }
    return b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":")).encode()


def _answer() -> bytes:
    events = [
        _event({"role": "assistant", "content": ""}),
        *(_event({"content": delta}) for delta in DELTAS),
        _event({}, "stop"),
        b"data: [DONE]\n\n",
        b"",
    ]
    return _HEAD + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)


class Upstream(asyncio.Protocol):
    """A connection, kept alive, of which every whole request gets the same answer."""

    answer = _answer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, found, rest = self._received.partition(b"\r\n\r\n")
            length = _content_length(head)
            if not found or len(rest) < length:
                return
            self._received = rest[length:]
            self._transport.write(self.answer)


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def upstream(cores: Cores) -> Generator[str]:
    """Run the stub in a process of its own, on the load's core; yield its base URL."""
    with cores.on(cores.load):
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.upstream"],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(_serve())
