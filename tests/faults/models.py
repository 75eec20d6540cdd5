"""The scripted upstream: an OpenAI-compatible server on loopback with one fault for each model."""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.plugins.openai.upstream import (
    DONE,
    EOF,
    HANG,
    RESET,
    Behaviour,
    Drip,
    Reply,
    Request,
    Upstream,
    Wait,
    delta,
    document,
    event,
    finish,
    sse,
    status,
    tool_delta,
    usage,
)

T = TypeVar("T")

GOOD = sse(delta("Hel"), delta("lo"), finish(), usage(1, 2), DONE)
TEXT = "Hello"
_EVENTS = (delta("Hel"), delta("lo"), finish(), usage(1, 2))
_TOOL_ARGUMENTS = '{"query": "d\\u00e9j\\u00e0 \\"vu\\""}'


def in_turn(*replies: Reply) -> Behaviour:
    """Give these replies to each key of its own, the last one again and again."""
    counts: Counter[str] = Counter()

    def reply(request: Request) -> Reply:
        key = key_of(request)
        counts[key] += 1
        return replies[min(counts[key], len(replies)) - 1]

    return reply


def retry_later(value: str | Callable[[], str]) -> Behaviour:
    """Refuse once with this ``Retry-After``, then answer."""
    refused: set[str] = set()

    def reply(request: Request) -> Reply:
        key = key_of(request)
        if key in refused:
            return GOOD
        refused.add(key)
        return status(429, "slow down", retry_after=value if isinstance(value, str) else value())

    return reply


def http_date(seconds: float) -> Callable[[], str]:
    return lambda: email.utils.formatdate(time.time() + seconds, usegmt=True)


def echo_key(request: Request) -> Reply:
    """Refuse, and repeat the key as some servers do."""
    key = request.headers["authorization"]
    return status(401, f"the key {key} is wrong, {key.removeprefix('Bearer ')}")


def redirect(request: Request) -> Reply:
    """Send the client to another host name, under which the same upstream would hear of it."""
    port = request.headers["host"].rpartition(":")[2]
    return Reply((), 307, {"location": f"http://localhost:{port}/v1/chat/completions"}, "length")


def written_as(end: bytes, *, bom: bool = False, field: bytes = b"data: ") -> Reply:
    """The good stream with other line ends, and its JSON over several lines of data."""
    body = b"\xef\xbb\xbf" if bom else b""
    for mapping in _EVENTS:
        data = event(mapping)[len(b"data: ") : -2]
        # JSON may hold a line break wherever it may hold a blank.
        lines = data.replace(b', "', b',\n"').split(b"\n")
        body += b": comment" + end + b"event: message" + end
        body += b"".join(field + line + end for line in lines) + end
    return sse(body + b"data: [DONE]" + end + end)


def tool_call() -> Reply:
    """A tool call whose arguments come a character at a time, with text before it."""
    pieces = [tool_delta(character, index=0) for character in _TOOL_ARGUMENTS]
    first = tool_delta("", index=0, id="call_1", name="search")
    return sse(delta("I search. "), first, *pieces, finish("tool_calls"), DONE)


FAULTS: dict[str, Behaviour] = {
    "good": GOOD,
    # before the first token
    **{f"status-{code}": status(code) for code in (400, 401, 403, 404, 429, 500, 503)},
    **{f"status-{code}-once": in_turn(status(code), GOOD) for code in (429, 500, 503)},
    "echoes-the-key": echo_key,
    "retry-after-seconds": retry_later("1"),
    "retry-after-date": retry_later(http_date(2)),
    "retry-after-an-hour": retry_later("3600"),
    "retry-after-negative": retry_later("-5"),
    "retry-after-junk": retry_later("soon"),
    "reset-at-once": Reply((RESET,), status=0),
    "reset-at-once-once": in_turn(Reply((RESET,), status=0), GOOD),
    "redirect": redirect,
    "endless-error": Reply((Drip(b"x" * 65536, 0),), 500, {"content-type": "text/plain"}),
    "endless-line": Reply(
        (b"data: ", Drip(b"x" * 65536, 0)), 200, {"content-type": "text/event-stream"}
    ),
    "endless-tool-call": sse(
        tool_delta("", index=0, id="1", name="search"),
        Drip(event(tool_delta("x" * 65536, index=0)), 0),
    ),
    "endless-document": Reply((Drip(b"[" * 65536, 0),), 200, {"content-type": "application/json"}),
    "page": Reply((b"<html>sign in</html>",), 200, {"content-type": "text/html"}, "length"),
    # after the first token
    "reset": sse(delta("Hel"), delta("lo"), RESET),
    "status-inside": sse(delta("Hel"), delta("lo"), {"error": {"message": "out of memory"}}, DONE),
    "cut": sse(delta("Hel"), delta("lo")),
    "cut-body": sse(delta("Hel"), delta("lo"), EOF),
    "bad-json": sse(delta("Hel"), delta("lo"), b"data: {not json\n\n", DONE),
    "bad-utf-8": sse(delta("Hel"), delta("lo"), b"data: \xff\xfe\n\n", DONE),
    "error-in-200": sse({"error": {"message": "the model is on holiday"}}, DONE),
    "error-document-in-200": document({"error": {"message": "the model is on holiday"}}),
    # hangs
    "hang-before-headers": Reply((HANG,), status=0),
    "hang-before-first-token": sse(HANG),
    "hang-behind-comments": sse(Drip(b": still there\n\n", 0.05)),
    "hang-mid-stream": sse(delta("Hel"), delta("lo"), HANG),
    "hang-mid-stream-behind-comments": sse(
        delta("Hel"), delta("lo"), Drip(b": still there\n\n", 0.05)
    ),
    "never-ends": sse(Drip(event(delta("on ")), 0.02)),
    "thinks-long": sse(Wait(1.5), delta("Hel"), delta("lo"), finish(), DONE),
    # odd but right
    "odd-deltas": sse(
        {"choices": []},
        {"choices": [{"index": 0, "delta": None}]},
        delta("Hel"),
        {"choices": [{"index": 0, "delta": {"content": None}}]},
        {"choices": [{"index": 1, "delta": {"content": "other"}}]},
        {"choices": None},
        {},
        delta(""),
        delta("lo"),
        finish(),
        usage(1, 2),
        DONE,
    ),
    "reasoning-content": sse(delta(reasoning_content="Hm"), delta("Hel"), delta("lo"), finish()),
    "reasoning": sse(delta(reasoning="Hm"), delta("Hel"), delta("lo"), finish(), DONE),
    "empty-reasoning-beside-content": sse(
        delta(reasoning_content="Hm"),
        delta("Hel", reasoning_content=""),
        delta("lo", reasoning=""),
        finish(),
        DONE,
    ),
    "tool-call": tool_call(),
    "tool-call-byte-by-byte": tool_call().split_everywhere(),
    "unknown-tool": sse(
        tool_delta("{}", index=0, id="1", name="os.system"), finish("tool_calls"), DONE
    ),
    "split-emoji": sse(
        b'data: {"choices":[{"index":0,"delta":{"content":"a \\ud83d"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00 b"}}]}\n\n',
        finish(),
        DONE,
    ),
    "byte-by-byte": GOOD.split_everywhere(),
    "drip": Reply(
        tuple(
            itertools.chain.from_iterable(
                (bytes([byte]), Wait(0.001)) for byte in sse(delta(TEXT), finish(), DONE).body
            )
        ),
        200,
        {"content-type": "text/event-stream"},
    ),
    "crlf": written_as(b"\r\n"),
    "cr": written_as(b"\r"),
    "bom": written_as(b"\n", bom=True),
    "no-space": written_as(b"\n", field=b"data:"),
    "cut-by-length": sse(delta(TEXT), finish("length"), DONE),
    "cut-by-filter": sse(delta(TEXT), finish("content_filter"), DONE),
}


def key_of(request: Request) -> str:
    """The key of the test that a request belongs to: the text of the last message."""
    return request.json["messages"][-1]["content"]


class Models:
    """The upstream in a thread of its own, so that tests and servers may come and go."""

    def __init__(self) -> None:
        self._upstream = Upstream()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def base_url(self) -> str:
        return self._upstream.base_url

    @property
    def url_without_tls(self) -> str:
        """The https URL of a server that answers every greeting in plain text."""
        return f"https://127.0.0.1:{self._plain.sockets[0].getsockname()[1]}/v1"

    @property
    def open_connections(self) -> int:
        return self._upstream.open_connections

    def start(self) -> None:
        self._thread.start()
        self._call(self._upstream.__aenter__())
        self._plain = self._call(asyncio.start_server(_answer_in_plain_text, "127.0.0.1", 0))
        for model, behaviour in FAULTS.items():
            self._upstream.on(model, behaviour)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._plain.close)
        self._call(self._upstream.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def requests(self, key: str) -> list[Request]:
        """The requests of one test, in order."""
        return [request for request in list(self._upstream.requests) if key_of(request) == key]

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(5)


async def _answer_in_plain_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    writer.close()
