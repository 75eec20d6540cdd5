"""What the HTTP service answers, from its OpenAPI document."""

from __future__ import annotations

from typing import Any

from docs.generator.markers import table

from flowcore import BaseAsyncOp, Flow
from flowcore_http.openapi import openapi_document

REQUESTS = {"/stream": "streamed flows", "/flow": "other flows", "/health": "`GET /health`"}


class _AnyOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        pass


def responses() -> str:
    """Return the table of all answers that the document promises."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for path, methods in _document()["paths"].items():
        for status, answer in next(iter(methods.values()))["responses"].items():
            media = ", ".join(f"`{media}`" for media in answer["content"])
            found.setdefault((status, media, answer["description"]), []).append(REQUESTS[path])
    rows = [
        (status, "all" if len(of) == len(REQUESTS) else ", ".join(of), media, text)
        for (status, media, text), of in sorted(found.items())
    ]
    return table(("status", "of", "media type", "meaning"), *rows)


def schema(name: str) -> str:
    """Return the table of the fields of one of the document's schemas."""
    found = _document()["components"]["schemas"][name]
    required = found.get("required", [])
    rows = [
        (
            f"`{field}`",
            _type(said),
            "always" if field in required else "",
            said.get("description", ""),
        )
        for field, said in found["properties"].items()
    ]
    return table(("field", "type", "there", "meaning"), *rows)


def _document() -> dict[str, Any]:
    flows = [Flow("stream", _AnyOp(), stream=True), Flow("flow", _AnyOp())]
    return openapi_document(flows, with_keys=True)


def _type(said: dict[str, Any]) -> str:
    kinds = said.get("type") or [each["type"] for each in said.get("anyOf", [])]
    kinds = [kinds] if isinstance(kinds, str) else kinds
    choices = [f"`{each}`" for each in said.get("enum", [])]
    return ", ".join(choices) or " or ".join(kinds)
