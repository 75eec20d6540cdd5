"""The pages that explain errors show what the errors really say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from flowcore import BackendError, Message
from tests.explained import assert_explained

from .conftest import MakeLLM, text_and_failure
from .upstream import HANG, RESET, Reply, Upstream, delta, finish, sse, status

MODEL = "qwen3-max"
PAGE = Reply((b"<html>Welcome</html>",), headers={"content-type": "text/html"})
FAULTS: list[tuple[str, Reply, Mapping[str, Any]]] = [
    ("upstream_reset", Reply((RESET,), 0), {}),
    ("upstream_rate_limited", status(429, "Rate limit reached"), {}),
    ("upstream_error", status(503, "The model is overloaded"), {}),
    ("upstream_rejected", status(400, "temperature must be at most 2"), {}),
    ("upstream_auth", status(401, "You did not provide an API key"), {"api_key": None}),
    ("upstream_not_found", status(404, "The model does not exist"), {}),
    ("upstream_timeout_first_token", sse(HANG), {"first_token_timeout": 0.1}),
    ("upstream_timeout_idle", sse(delta("The tea"), HANG), {"idle_timeout": 0.1}),
    ("upstream_timeout_total", sse(delta("The tea"), HANG), {"total_timeout": 0.2}),
    ("upstream_truncated", sse(delta("The tea")), {}),
    ("upstream_invalid", PAGE, {}),
]


@pytest.mark.parametrize(("code", "reply", "settings"), FAULTS, ids=[code for code, *_ in FAULTS])
async def test_the_page_shows_what_is_said_of_a_fault_of_the_upstream(
    code: str, reply: Reply, settings: Mapping[str, Any], upstream: Upstream, llm: MakeLLM
):
    upstream.on(MODEL, reply)
    _, error = await text_and_failure(llm(MODEL, max_retries=0, **settings))
    assert error.code == code
    assert_explained(code, shown(error, upstream))


async def test_the_page_shows_what_is_said_of_a_server_that_is_not_there(llm: MakeLLM):
    _, error = await text_and_failure(llm(MODEL, max_retries=0, base_url="http://127.0.0.1:9/v1"))
    assert_explained("upstream_unreachable", str(error))


async def test_the_page_shows_what_is_said_of_a_server_that_accepts_no_connection(
    upstream: Upstream, llm: MakeLLM
):
    # The stub does not answer a TLS handshake, which belongs to connecting.
    url = upstream.base_url.replace("http:", "https:")
    _, error = await text_and_failure(llm(MODEL, max_retries=0, base_url=url, connect_timeout=0.1))
    assert_explained("upstream_timeout_connect", shown(error, upstream))


async def test_the_page_shows_what_is_said_when_all_connections_are_in_use(
    upstream: Upstream, llm: MakeLLM
):
    upstream.on(MODEL, sse(HANG), sse(delta("hi"), finish()))
    model = llm(MODEL, max_retries=0, max_connections=1, connect_timeout=1)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, model)
        await upstream.arrived()
        _, error = await text_and_failure(model)
        assert error.code == "upstream_busy"
        assert_explained(error.code, shown(error, upstream))
        group.cancel_scope.cancel()


async def ask(model: Any) -> None:
    async for _ in model.astream_chat([Message(content="hi")]):
        pass


def shown(error: BackendError, upstream: Upstream) -> str:
    return str(error).replace(f"127.0.0.1:{upstream.port}", "api.example.com")
