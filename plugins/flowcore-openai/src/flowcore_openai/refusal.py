"""Answers without success: read as far as a message may reach, and raised as errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

import anyio
import httpx2
from pydantic_core import from_json

from flowcore_openai.failures import Failures
from flowcore_openai.retry import retry_after

MAX_BYTES = 64 * 1024
"""Most that is read of the body; the SDK would read all of it into memory."""

_SECONDS = 2.0


def refuse_errors(failures: Failures) -> Callable[[httpx2.Response], Awaitable[None]]:
    """Return a response hook of the HTTP client that raises the errors of one endpoint."""

    async def check(response: httpx2.Response) -> None:
        if response.is_success:
            return
        body = await _beginning(response)
        headers = response.headers
        location = headers.get("location")
        raise failures.of_status(
            response.status_code, _parsed(body), retry_after(headers), location
        )

    return check


async def _beginning(response: httpx2.Response) -> bytes:
    body = bytearray()
    # The status says enough where the body breaks off or does not come.
    with anyio.move_on_after(_SECONDS), suppress(httpx2.RequestError):
        async with aclosing(response.aiter_bytes()) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > MAX_BYTES:
                    break
    return bytes(body[:MAX_BYTES])


def _parsed(body: bytes) -> object:
    try:
        return from_json(body)
    except ValueError:
        return body.decode("utf-8", "replace")
