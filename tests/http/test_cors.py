"""Pages of other origins."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest
from pydantic import ValidationError

from flowcore import BackendError, BaseAsyncOp, FlowStreamChunk
from flowcore_http import CorsSettings

ORIGIN = {"Origin": "https://page.example"}
PREFLIGHT = {
    **ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,last-event-id",
}
KEY = "a-key-of-some-length-0123"


class OnceOp(BaseAsyncOp):
    """Streams one chunk and counts its runs."""

    runs = 0

    async def async_execute(self):
        type(self).runs += 1
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))


class BusyOp(BaseAsyncOp):
    """Finds its model busy."""

    async def async_execute(self):
        raise BackendError("all connections are in use", code="upstream_busy")


class WaitOp(BaseAsyncOp):
    """Waits until it is cancelled."""

    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))
        await anyio.sleep_forever()


def names(response: httpx.Response, field: str) -> set[str]:
    """Return the members of a header field that is a list, in lower case."""
    return {name.strip().lower() for name in response.headers.get(field, "").split(",")}


async def test_any_page_may_call_without_credentials(serve):
    async with serve({"once": "OnceOp()"}, OnceOp) as server, httpx.AsyncClient() as client:
        response = await client.post(f"{server.url}/once", json={}, headers=ORIGIN)

    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert names(response, "Access-Control-Expose-Headers") >= {"x-run-id", "retry-after"}


async def test_a_preflight_is_answered_without_running_anything(serve):
    OnceOp.runs = 0
    async with serve({"once": "OnceOp()"}, OnceOp) as server, httpx.AsyncClient() as client:
        response = await client.options(f"{server.url}/once", headers=PREFLIGHT)

    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert names(response, "Access-Control-Allow-Methods") >= {"get", "post"}
    assert names(response, "Access-Control-Allow-Headers") == {
        "authorization",
        "content-type",
        "last-event-id",
    }
    assert response.headers["Access-Control-Max-Age"] == "600"
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert OnceOp.runs == 0


async def test_other_header_fields_are_allowed_by_name_only(serve):
    asked = {**PREFLIGHT, "Access-Control-Request-Headers": "x-mine,content-type"}
    cors = CorsSettings(allow_headers=["Content-Type", "X-Mine"])
    async with httpx.AsyncClient() as client:
        async with serve({"once": "OnceOp()"}, OnceOp) as server:
            closed = await client.options(f"{server.url}/once", headers=asked)
        async with serve({"once": "OnceOp()"}, OnceOp, cors=cors) as server:
            opened = await client.options(f"{server.url}/once", headers=asked)

    assert names(closed, "Access-Control-Allow-Headers") == {"content-type"}
    assert names(opened, "Access-Control-Allow-Headers") == {"content-type", "x-mine"}


async def test_a_page_may_read_why_it_was_refused(serve):
    async with (
        serve(
            {"once": {"flow_content": "OnceOp()", "input_schema": {"n": {"type": "integer"}}}},
            OnceOp,
            api_keys={"me": KEY},
            rate_limit="4/minute",
        ) as server,
        httpx.AsyncClient(headers=ORIGIN) as client,
    ):
        key = {"Authorization": f"Bearer {KEY}"}
        problems: list[tuple[str, dict[str, Any], int]] = [
            ("/once", {"json": {}}, 401),
            ("/onc", {"json": {}, "headers": key}, 404),
            ("/once", {"content": b"{}", "headers": key}, 415),
            ("/once", {"json": {"n": "x"}, "headers": key}, 422),
            ("/once", {"json": {"n": 1}, "headers": key}, 200),
            ("/once", {"json": {"n": 1}, "headers": key}, 429),
        ]
        for path, content, status in problems:
            response = await client.post(server.url + path, **content)
            assert response.status_code == status
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "retry-after" in names(response, "Access-Control-Expose-Headers")


async def test_a_page_may_read_that_a_model_is_busy(serve):
    async with (
        serve({"busy": {"flow_content": "BusyOp()"}}, BusyOp) as server,
        httpx.AsyncClient(headers=ORIGIN) as client,
    ):
        response = await client.post(f"{server.url}/busy", json={})

    assert response.status_code == 503
    assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_page_may_read_that_there_are_too_many_runs(serve):
    async with (
        serve({"wait": "WaitOp()"}, WaitOp, max_runs_per_key=1) as server,
        httpx.AsyncClient(headers=ORIGIN) as client,
        client.stream("POST", f"{server.url}/wait", json={}) as running,
    ):
        refused = await client.post(f"{server.url}/wait", json={})

    assert running.headers["Access-Control-Allow-Origin"] == "*"
    assert refused.status_code == 429
    assert refused.headers["Access-Control-Allow-Origin"] == "*"


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
    assert "Access-Control-Allow-Origin" not in stranger.headers
    assert "Access-Control-Allow-Credentials" not in stranger.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://page.example.evil.example",
        "https://evil.example/https://page.example",
        "http://page.example",
        "https://page.example:8443",
        "https://sub.page.example",
        "null",
        "",
    ],
)
async def test_an_origin_that_only_resembles_a_named_one_is_a_stranger(serve, origin):
    cors = CorsSettings(allow_origin=["https://page.example"])
    async with (
        serve({"once": "OnceOp()"}, OnceOp, cors=cors) as server,
        httpx.AsyncClient() as client,
    ):
        response = await client.post(f"{server.url}/once", json={}, headers={"Origin": origin})

    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_caches_keep_the_answers_for_named_origins_apart(serve):
    cors = CorsSettings(allow_origin=["https://page.example", "https://other.example"])
    async with (
        serve({"once": "OnceOp()"}, OnceOp, cors=cors) as server,
        httpx.AsyncClient() as client,
    ):
        for path in ("/health", "/openapi.json", "/nothing", "/docs"):
            for origin in (ORIGIN, {"Origin": "https://evil.example"}, {}):
                response = await client.get(server.url + path, headers=origin)
                assert "origin" in names(response, "Vary")


async def test_a_cache_does_not_give_a_page_an_answer_that_it_may_not_read(serve):
    async with serve({"once": "OnceOp()"}, OnceOp) as server, httpx.AsyncClient() as client:
        response = await client.get(f"{server.url}/openapi.json")

    assert "Access-Control-Allow-Origin" in response.headers or "origin" in names(response, "Vary")


@pytest.mark.parametrize("origin", ["*", "null"])
def test_credentials_for_every_origin_are_refused(origin):
    with pytest.raises(ValidationError, match="needs named origins"):
        CorsSettings(allow_origin=["https://page.example", origin], allow_credentials=True)


@pytest.mark.parametrize(
    "origin",
    ["https://page.example/", "page.example", "https://Page.example", "https://*.example", ""],
)
def test_an_origin_that_no_browser_sends_is_refused(origin):
    with pytest.raises(ValidationError, match="is not an origin"):
        CorsSettings(allow_origin=[origin])


@pytest.mark.parametrize("name", ["*", "", "X Mine", "X-Mine\r\nSet-Cookie"])
def test_a_header_field_that_is_none_is_refused(name):
    with pytest.raises(ValidationError, match="is not the name of a header field"):
        CorsSettings(allow_headers=[name])
