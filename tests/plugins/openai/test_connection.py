"""Deadlines, cancellation and the connections of one client."""

from __future__ import annotations

import math
import time
from contextlib import aclosing

import anyio
import pytest

from flowcore import BackendError, Message
from flowcore_openai.patience import Patience

from .conftest import MakeLLM, text_and_failure
from .upstream import (
    DONE,
    HANG,
    Drip,
    Reply,
    Upstream,
    delta,
    event,
    finish,
    sse,
    status,
)

HELLO = [Message(content="hi")]
GOOD = sse(delta("Hello"), finish(), DONE)
COMMENTS = Drip(b": keep-alive\n\n")
ROLE = delta("", role="assistant")


@pytest.mark.parametrize(
    ("limit", "reply", "text"),
    [
        ("first_token", Reply((HANG,), status=0), ""),
        ("first_token", sse(HANG), ""),
        ("first_token", sse(COMMENTS), ""),
        ("first_token", sse(ROLE, COMMENTS), ""),
        ("first_token", sse(Drip(event(ROLE))), ""),
        ("first_token", Reply((b"{", HANG), headers={"content-type": "application/json"}), ""),
        ("idle", sse(delta("Hel"), HANG), "Hel"),
        ("idle", sse(delta("Hel"), COMMENTS), "Hel"),
        ("idle", sse(delta("Hel"), Drip(b"data: {")), "Hel"),
        ("total", sse(delta("Hel"), HANG), "Hel"),
        ("total", Reply((HANG,), status=0), ""),
        ("total", Reply((b"{", HANG), 500), ""),
    ],
    ids=str,
)
async def test_each_deadline_has_its_own_error(
    limit: str, reply: Reply, text: str, upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", reply)
    seconds = 2 if text else 0.3  # a busy machine needs time until the text is there
    with anyio.fail_after(10):
        got, error = await text_and_failure(llm("m", **{f"{limit}_timeout": seconds}))
    assert (got, error.code) == (text, f"upstream_timeout_{limit}")
    assert f"{limit}_timeout" in str(error)
    with anyio.fail_after(5):
        await upstream.requests[0].gone.wait()
    assert len(upstream.requests) == 1


async def test_data_resets_the_idle_time(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", sse(Drip(event(delta("x")), interval=0.05)))
    with anyio.fail_after(5), pytest.raises(BackendError) as caught:
        await llm(idle_timeout=1, total_timeout=2).achat(HELLO)
    assert caught.value.code == "upstream_timeout_total"


async def test_a_slow_reader_does_not_count_as_an_idle_upstream():
    patience = Patience(give_up_at=math.inf, idle=10)
    patience.heard(content=True)
    assert patience.limit(now=100) == (110, "upstream_timeout_idle")
    patience.waited(4)
    assert patience.limit(now=1000) == (1006, "upstream_timeout_idle")
    patience.heard(content=True)
    assert patience.limit(now=2000) == (2010, "upstream_timeout_idle")


async def test_the_total_timeout_spans_the_retries(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", status(503, retry_after_ms="20"))
    with anyio.fail_after(5), pytest.raises(BackendError):
        await llm(total_timeout=1, max_retries=100).achat(HELLO)
    assert 2 < len(upstream.requests) < 60


async def test_no_connection_in_time_has_its_own_error(upstream: Upstream, llm: MakeLLM):
    # The stub does not answer a TLS handshake, which belongs to connecting.
    url = upstream.base_url.replace("http:", "https:")
    with anyio.fail_after(5):
        model = llm(base_url=url, connect_timeout=0.3, max_retries=1)
        _, error = await text_and_failure(model)
    assert error.code == "upstream_timeout_connect"
    assert upstream.connections == 2


@pytest.mark.parametrize(
    "reply",
    [Reply((HANG,), status=0), sse(HANG), sse(delta("a"), HANG), sse(delta("a"), COMMENTS)],
)
async def test_cancelling_closes_the_request_within_a_second(
    reply: Reply, upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", reply)
    cancelled_at = math.inf
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(llm().achat, HELLO)
        await upstream.arrived()
        cancelled_at = time.monotonic()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(5):
        await upstream.requests[0].gone.wait()
    assert (upstream.requests[0].gone_at or 0) - cancelled_at < 1
    assert upstream.open_connections == 0


async def test_closing_the_generator_closes_the_request(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", sse(delta("a"), Drip(event(delta("b")))))
    async with aclosing(llm().astream_chat(HELLO)) as chunks:
        async for _ in chunks:
            break
    with anyio.fail_after(5):
        await upstream.requests[0].gone.wait()
    assert upstream.open_connections == 0


async def test_closing_in_a_cancelled_scope_closes_the_request(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", sse(delta("a"), HANG))
    with anyio.CancelScope() as scope:
        async with aclosing(llm().astream_chat(HELLO)) as chunks:
            async for _ in chunks:
                scope.cancel()
                break
    with anyio.fail_after(5):
        await upstream.requests[0].gone.wait()


async def test_cancelled_requests_leave_the_pool_empty(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", sse(delta("a"), HANG))
    upstream.on("good", GOOD)
    model = llm(max_connections=2, connect_timeout=2)
    for _ in range(100):
        async with aclosing(model.astream_chat(HELLO)) as chunks:
            async for _ in chunks:
                break
    assert (await model.achat(HELLO, model="good")).content == "Hello"


async def test_a_full_pool_is_told_apart(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", sse(delta("a"), HANG))
    model = llm(max_connections=1, connect_timeout=0.5)
    async with aclosing(model.astream_chat(HELLO)) as chunks:
        await anext(chunks)
        with anyio.fail_after(5):
            _, error = await text_and_failure(model)
        assert error.code == "upstream_busy"
        assert "max_connections" in str(error)


async def test_calls_in_turn_share_one_connection(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", GOOD, status(503), GOOD)
    model = llm()
    for _ in range(4):
        assert (await model.achat(HELLO)).content == "Hello"
    assert len(upstream.requests) == 5
    assert upstream.connections == 1


async def test_a_first_use_by_many_makes_one_client(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", GOOD)
    model = llm(max_connections=1)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(model.achat, HELLO)
    assert len(upstream.requests) == 5
    assert upstream.connections == 1


async def test_an_upstream_that_never_ends_its_body_holds_nobody_up(
    upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", sse(delta("Hello"), finish(), DONE, HANG))
    with anyio.fail_after(10):
        assert (await llm().achat(HELLO)).content == "Hello"
        await upstream.requests[0].gone.wait()


async def test_aclose_closes_the_connections(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", GOOD)
    model = llm()
    await model.achat(HELLO)
    assert upstream.open_connections == 1
    await model.aclose()
    with anyio.fail_after(5):
        await upstream.requests[0].gone.wait()
    await model.aclose()
