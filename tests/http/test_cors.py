"""Pages of other origins."""

from __future__ import annotations

import httpx
import pytest
from pydantic import ValidationError

from flowcore import BaseAsyncOp, FlowStreamChunk
from flowcore_http import CorsSettings

PREFLIGHT = {
    "Origin": "https://page.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,authorization",
}


class OnceOp(BaseAsyncOp):
    """Streams one chunk and counts its runs."""

    runs = 0

    async def async_execute(self):
        type(self).runs += 1
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))


async def test_any_page_may_call_without_credentials(serve):
    async with serve({"once": "OnceOp()"}, OnceOp) as server, httpx.AsyncClient() as client:
        origin = {"Origin": "https://page.example"}
        response = await client.post(f"{server.url}/once", json={}, headers=origin)

    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert response.headers["Access-Control-Expose-Headers"] == "X-Run-Id"


async def test_a_preflight_is_answered_without_running_anything(serve):
    OnceOp.runs = 0
    async with serve({"once": "OnceOp()"}, OnceOp) as server, httpx.AsyncClient() as client:
        response = await client.options(f"{server.url}/once", headers=PREFLIGHT)

    assert response.status_code in (200, 204)
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    allowed = response.headers["Access-Control-Allow-Headers"].lower()
    assert "content-type" in allowed
    assert "authorization" in allowed
    assert OnceOp.runs == 0


async def test_a_page_may_read_why_it_was_refused(serve):
    async with serve({"once": "OnceOp()"}, OnceOp) as server, httpx.AsyncClient() as client:
        origin = {"Origin": "https://page.example"}
        for path, status in (("/onc", 404), ("/once", 415)):
            response = await client.post(server.url + path, content=b"{}", headers=origin)
            assert response.status_code == status
            assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_named_origins_may_be_allowed_with_credentials(serve):
    cors = CorsSettings(allow_origin=["https://page.example"], allow_credentials=True)
    async with (
        serve({"once": "OnceOp()"}, OnceOp, cors=cors) as server,
        httpx.AsyncClient() as client,
    ):
        friend = await client.options(f"{server.url}/once", headers=PREFLIGHT)
        stranger = await client.options(
            f"{server.url}/once", headers={**PREFLIGHT, "Origin": "https://evil.example"}
        )

    assert friend.headers["Access-Control-Allow-Origin"] == "https://page.example"
    assert friend.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in friend.headers["Vary"]
    assert "Access-Control-Allow-Origin" not in stranger.headers


def test_credentials_for_every_origin_are_refused():
    with pytest.raises(ValidationError, match="needs named origins"):
        CorsSettings(allow_credentials=True)
