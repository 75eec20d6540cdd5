"""A stub of an OpenAI-compatible API, for the pages that call one: answers every question alike."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ("AI", " lets", " machines", " learn.")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/embeddings"):
            size = body.get("dimensions", 3)
            data = [
                {"object": "embedding", "index": index, "embedding": _vector(text, size)}
                for index, text in enumerate(body["input"])
            ]
            self._answer("application/json", json.dumps({"object": "list", "data": data}))
        else:
            self._answer("text/event-stream", _stream(body["model"]))

    def _answer(self, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base
        pass


def _vector(text: str, size: int) -> list[float]:
    # Texts that share letters are near each other, which is enough for an example.
    vector = [0.0] * size
    for letter in text.lower():
        vector[ord(letter) % size] += 1
    return vector


def _stream(model: str) -> str:
    deltas: list[dict[str, Any]] = [{"delta": {"content": word}} for word in WORDS]
    deltas.append({"delta": {}, "finish_reason": "stop"})
    events = [
        {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model, **rest}
        for rest in (
            *({"choices": [{"index": 0, **delta}]} for delta in deltas),
            {
                "choices": [],
                "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
            },
        )
    ]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


@contextmanager
def upstream() -> Generator[str]:
    """Serve the stub and yield its base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()
