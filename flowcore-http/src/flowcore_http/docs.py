"""The endpoints that describe the API: the OpenAPI document and a page to read and try it.

The page is our own: it shows a stream as it comes, where the known bundles show it at its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from quart import Quart, Response

from flowcore_http.wire import encode_json

_HTML = "text/html; charset=utf-8"
_PAGE = {
    "/docs": ("docs.html", _HTML),
    "/docs/docs.css": ("docs.css", "text/css; charset=utf-8"),
    "/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_docs(quart: Quart, document: dict[str, Any]) -> None:
    """Add ``/openapi.json``, which answers with ``document``, and ``/docs``."""
    pages = files("flowcore_http") / "static"
    text = encode_json(document)
    quart.add_url_rule("/openapi.json", "openapi", _fixed(text.encode(), "application/json"))
    for path, (name, kind) in _PAGE.items():
        quart.add_url_rule(path, name, _fixed((pages / name).read_bytes(), kind))


def _fixed(body: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def view() -> Response:
        return Response(body, content_type=kind, headers=_HEADERS)

    return view
