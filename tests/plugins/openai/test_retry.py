"""When an attempt is repeated, how often and after how long."""

from __future__ import annotations

import email.utils
import time

import pytest

from flowcore import BackendError, Message
from flowcore_openai.retry import retry_after

from .conftest import MakeLLM
from .upstream import (
    DONE,
    EOF,
    RESET,
    Reply,
    Upstream,
    delta,
    finish,
    sse,
    status,
    tool_delta,
)

GOOD = sse(delta("Hello"), finish(), DONE)
HELLO = [Message(content="hi")]


@pytest.mark.parametrize("code", [408, 409, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("max_retries", [0, 1, 3])
async def test_a_passing_status_is_attempted_exactly_so_often(
    code: int, max_retries: int, upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", status(code))
    with pytest.raises(BackendError) as caught:
        await llm(max_retries=max_retries).achat(HELLO)
    assert caught.value.status == code
    assert len(upstream.requests) == 1 + max_retries


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422, 501])
async def test_a_lasting_status_is_attempted_once(code: int, upstream: Upstream, llm: MakeLLM):
    upstream.on("m", status(code))
    with pytest.raises(BackendError):
        await llm().achat(HELLO)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "broken",
    [Reply((RESET,), status=0), Reply((EOF,), status=0), sse(RESET), sse(delta(role="a"), EOF)],
)
async def test_a_connection_that_breaks_before_the_content_is_retried(
    broken: Reply, upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", broken, broken, GOOD)
    assert (await llm().achat(HELLO)).content == "Hello"
    assert len(upstream.requests) == 3


async def test_retries_end_with_the_last_failure(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", status(503), Reply((RESET,), status=0), status(429, "slow down"))
    with pytest.raises(BackendError, match="slow down") as caught:
        await llm().achat(HELLO)
    assert caught.value.code == "upstream_rate_limited"
    assert len(upstream.requests) == 3


@pytest.mark.parametrize(
    "first", [delta("a"), delta(reasoning="a"), tool_delta("{", index=0, id="c", name="f")]
)
async def test_after_the_first_content_nothing_is_retried(
    first: dict[str, object], upstream: Upstream, llm: MakeLLM
):
    upstream.on("m", sse(first, RESET), GOOD)
    with pytest.raises(BackendError) as caught:
        await llm().achat(HELLO)
    assert caught.value.code == "upstream_reset"
    assert len(upstream.requests) == 1


async def test_the_wait_that_the_upstream_asks_for_is_kept(upstream: Upstream, llm: MakeLLM):
    # A backoff of an hour would fail the test by its timeout.
    upstream.on("m", status(429, retry_after_ms="30"), status(503, retry_after="0"), GOOD)
    began = time.monotonic()
    assert (await llm(retry_backoff=3600).achat(HELLO)).content == "Hello"
    assert 0.03 <= time.monotonic() - began < 5


async def test_a_wait_beyond_the_limit_fails_at_once(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", status(429, "quota", retry_after="3600"))
    with pytest.raises(BackendError) as caught:
        await llm(max_retry_after=20).achat(HELLO)
    assert caught.value.retry_after == 3600
    assert "asked to wait 3600 s" in str(caught.value)
    assert "quota" in str(caught.value)
    assert len(upstream.requests) == 1


async def test_a_wait_beyond_the_total_timeout_fails_at_once(upstream: Upstream, llm: MakeLLM):
    upstream.on("m", status(429, retry_after="30"))
    with pytest.raises(BackendError) as caught:
        await llm(total_timeout=5).achat(HELLO)
    assert caught.value.code == "upstream_rate_limited"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("junk", ["-5", "soon", "", "nan", "inf", "Thu, 01 Jan 1970 00:00:00 GMT"])
async def test_a_senseless_wait_is_ignored(junk: str, upstream: Upstream, llm: MakeLLM):
    upstream.on("m", status(503, retry_after=junk), GOOD)
    assert (await llm().achat(HELLO)).content == "Hello"
    assert len(upstream.requests) == 2


def test_all_forms_of_retry_after_are_understood():
    soon = email.utils.formatdate(time.time() + 10, usegmt=True)
    assert retry_after({"retry-after": "1.5"}) == 1.5
    assert 8 < (retry_after({"retry-after": soon}) or 0) <= 10
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({"retry-after-ms": "junk", "retry-after": "9"}) == 9
    assert retry_after({}) is None


async def test_each_retry_is_logged(
    upstream: Upstream, llm: MakeLLM, caplog: pytest.LogCaptureFixture
):
    upstream.on("m", status(503, "busy"), GOOD)
    await llm().achat(HELLO)
    assert [r.levelname for r in caplog.records if r.name == "flowcore_openai"] == ["WARNING"]
    assert "busy; retry 1 of 2 in" in caplog.text
