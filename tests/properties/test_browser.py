"""A browser reads what our own reader reads, and what the service sends."""

from __future__ import annotations

from collections.abc import Generator

import httpx
import pytest
from anyio import to_thread
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowcore.sse import SSEDecoder

from .browser import Browser, running_browser
from .conftest import Service
from .cuts import cutting_proxy
from .test_texts import TRICKY, contents, repaired, request_for

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with running_browser() as browser:
        yield browser


LINES = [
    b"data", b"data:", b"data: a", b"data:b", b"data:\t c", b"data: \xe4\xbd\xa0", b"data:\0",
    b"data: :", b"data:[DONE]", b"data:\xe2\x80\xa8\xc2\x85", b"data:\xed\xa0\x80\xf0\x9f\x98\xff",
    b"Data:x", b"data :x", b" data:x", b":", b": comment", b"event:one", b"event: two", b"event:",
    b"event", b"id:1", b"id: 2", b"id", b"id:\0", b"id:x\0y", b"id: \xe2\x80\xa6", b"retry:1",
    b"retry:x", b"unknown:x", b"\xef\xbb\xbf", b"\xef\xbb\xbfdata:d", b"event:  message ", b"\0",
    b"\xff", b"x" * 3000,
]  # fmt: skip
ENDS = [b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r", b""]
streams = st.lists(
    st.builds(bytes.__add__, st.sampled_from(LINES), st.sampled_from(ENDS)), max_size=12
).map(b"".join)


@settings(max_examples=60)
@given(stream=streams)
@example(stream=b"\xef\xbb\xbfdata:a\n\n\xef\xbb\xbfdata:b\n\ndata:c\n\n")
@example(stream=b"id:1\n\ndata:a\n\nid:2\0\ndata:b\n\nid\ndata:c\n\n")
@example(stream=b"data:a\n\rdata:b\r\n\rdata:c\r\r\ndata:d")
@example(stream=b"event:one\n\ndata:a\n\nevent:two\nevent\ndata:b\n\n")
def test_our_decoder_reads_what_a_browser_reads(browser: Browser, stream: bytes):
    ours = [[event.data, event.event, event.id] for event in SSEDecoder().feed(stream)]

    assert browser.parse(stream) == ours


def test_a_browser_reads_the_events_of_a_run_once_and_then_stops(
    service: Service, browser: Browser
):
    posted = httpx.post(f"{service.url}/say", json=request_for(TRICKY), trust_env=False)
    run_id = posted.headers["X-Run-Id"]

    # It connects again after the end, to be told that there is no more.
    events = browser.read(f"{service.url}/runs/{run_id}/events")

    assert contents(data for data, _, _ in events) == list(map(repaired, TRICKY))
    assert [last for _, _, last in events] == [f"{run_id}-{n}" for n in range(1, len(events) + 1)]


async def test_a_browser_resumes_where_a_stream_was_cut(service: Service, browser: Browser):
    async with httpx.AsyncClient(trust_env=False) as client:
        posted = await client.post(f"{service.url}/say", json=request_for(TRICKY))
    run_id = posted.headers["X-Run-Id"]
    async with cutting_proxy(service.port, [3000]) as url:
        events = await to_thread.run_sync(browser.read, f"{url}/runs/{run_id}/events")

    assert contents(data for data, _, _ in events) == list(map(repaired, TRICKY))
    assert [last for _, _, last in events] == [f"{run_id}-{n}" for n in range(1, len(events) + 1)]
