"""The endpoints of the playground: the page, its parts, and what it asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any

import anyio.to_thread

from flowcore import FlowApp
from flowcore_http.body import read_object
from flowcore_http.endpoint import Endpoint, check_method
from flowcore_http.exchange import JSON, Exchange, Header
from flowcore_http.problem import HttpProblem
from flowcore_http.settings import HttpSettings
from flowcore_http.wire import encode_json

MAX_MARKDOWN_BYTES = 80_000
MAX_MARKDOWN_CHARACTERS = 12_000
"""The most Markdown of a request; the page sends what has changed, piece by piece."""

_PAGE = "page.html"
_KINDS = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
_GUARDS: list[Header] = [
    (b"content-security-policy", _POLICY),
    (b"referrer-policy", b"no-referrer"),
]


def endpoints(app: FlowApp, settings: HttpSettings, *, with_keys: bool) -> Iterator[Endpoint]:
    """Yield the endpoints of the playground.

    Args:
        app: The flows that it shows.
        settings: Settings of the service.
        with_keys: Whether requests need a key.
    """
    for path in (files("flowcore_http.playground") / "static").iterdir():
        kind = _KINDS.get(PurePath(path.name).suffix)
        if path.name == _PAGE:
            yield Endpoint("playground", "/playground", _fixed(path.read_bytes(), _KINDS[".html"]))
        elif kind is not None:  # an editor may have left something there
            answer = _fixed(path.read_bytes(), kind)
            yield Endpoint("playground_asset", f"/playground/{path.name}", answer)
    yield Endpoint("playground_flows", "/playground/flows.json", _flows(app, with_keys=with_keys))
    yield Endpoint("playground_markdown", "/playground/markdown", _markdown(settings))


Answer = Callable[[Exchange], Awaitable[None]]


def _fixed(body: bytes, kind: bytes) -> Answer:
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers: list[Header] = [
        *_GUARDS,
        (b"cache-control", b"no-cache"),
        (b"etag", tag.encode()),
    ]

    async def answer(exchange: Exchange) -> None:
        if not await check_method(exchange, "GET"):
            return
        known = exchange.field(b"if-none-match").replace("W/", "").split(",")
        if tag in map(str.strip, known):
            await exchange.start(304, headers)
            await exchange.write(b"", more=False)
        else:
            await exchange.answer(200, [(b"content-type", kind), *headers], body)

    return answer


def _flows(app: FlowApp, *, with_keys: bool) -> Answer:
    @cache
    def body() -> bytes:
        # At the first request, for a service whose page nobody opens needs no drawings.
        from flowcore_http.playground.flow_list import list_flows  # noqa: PLC0415

        return encode_json(list_flows(app.flows.values(), with_keys=with_keys)).encode()

    async def answer(exchange: Exchange) -> None:
        if await check_method(exchange, "GET"):
            # To draw hundreds of flows takes a while.
            listed = await anyio.to_thread.run_sync(body)
            await exchange.answer(200, [*JSON, *_GUARDS], listed)

    return answer


def _markdown(settings: HttpSettings) -> Answer:
    # Other work goes on meanwhile, and however many ask, they take one processor at most.
    one_at_a_time = anyio.CapacityLimiter(1)

    async def answer(exchange: Exchange) -> None:
        if not await check_method(exchange, "POST"):
            return
        request = await read_object(exchange, MAX_MARKDOWN_BYTES, settings.body_timeout)
        text = request.get("text")
        if not isinstance(text, str):
            errors: list[Any] = [{"loc": ["text"], "msg": "a text is required", "type": "string"}]
            raise HttpProblem(422, "invalid_input", 'Send {"text": …}.', errors=errors)
        if len(text) > MAX_MARKDOWN_CHARACTERS:
            detail = f"The text is longer than {MAX_MARKDOWN_CHARACTERS} characters."
            raise HttpProblem(413, "body_too_large", detail)
        body = await anyio.to_thread.run_sync(_render, text, limiter=one_at_a_time)
        await exchange.answer(200, [*JSON, *_GUARDS], body)

    return answer


def _render(text: str) -> bytes:
    from flowcore_http.playground.markdown import render  # noqa: PLC0415 - at the first answer

    return encode_json(render(text)).encode()
