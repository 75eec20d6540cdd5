"""A stream that is cut at any byte is resumed to exactly what it would have been."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest
from anyio import to_thread

from flowcore.sse import SSEDecoder
from flowcore_http import HttpClient, HttpError, SyncHttpClient
from flowcore_http.wire import split_events

from .conftest import Service
from .cuts import cutting_proxy, playback
from .test_texts import record, request_for

SAID = ["a", "data:[DONE]\n\n", "\u2028\u0085\ufeff", "\U0001f469\u200d\U0001f467", {"id": "\n"}]
AT_ONCE = 40


async def for_each_cut(cuts: Sequence[int], check: Callable[[int], Awaitable[object]]) -> None:
    """Check many cuts at the same time: each takes as long as the pause before a new try."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(cut: int) -> None:
        async with limit, asyncio.timeout(30):
            try:
                await check(cut)
            except Exception as error:
                error.add_note(f"cut after {cut} bytes")
                raise

    async with asyncio.TaskGroup() as group:
        for cut in cuts:
            group.create_task(one(cut))


def check_chunks(chunks: list[dict[str, Any]]) -> None:
    """Check that these are all chunks, in order, each once."""
    assert [chunk["content"] for chunk in chunks] == SAID
    numbers = [int(chunk["event_id"].rpartition("-")[2]) for chunk in chunks]
    assert numbers == list(range(1, len(SAID) + 1))
    assert len({chunk["flow_id"] for chunk in chunks}) == 1


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until the end"])
async def test_a_recorded_stream_is_resumed_from_every_byte(service: Service, chunked: bool):
    stream = await to_thread.run_sync(record, service, SAID)
    opening, _, rest = stream.partition(b"id:")
    events = split_events(b"id:" + rest)
    [first, *_] = SSEDecoder().feed(stream)
    run_id = first.id.rpartition("-")[0]
    events[0] = opening + events[0]

    async def check(cut: int) -> None:
        async with (
            playback(run_id, events, cut, chunked=chunked) as url,
            HttpClient(url, trust_env=False, verify=False) as client,
        ):
            check_chunks([chunk async for chunk in client.execute_stream_flow("say")])

    await for_each_cut(range(len(stream)), check)


def length_of_answer(service: Service) -> int:
    """Return how many bytes a whole answer has, about."""
    answer = httpx.post(f"{service.url}/say", json=request_for(SAID), trust_env=False)
    return len(answer.content) + sum(len(k) + len(v) + 4 for k, v in answer.headers.raw) + 50


async def test_a_stream_of_the_service_is_resumed_from_every_byte(service: Service):
    async def check(cut: int) -> None:
        async with (
            cutting_proxy(service.port, [cut]) as url,
            HttpClient(url, trust_env=False, verify=False) as client,
        ):
            stream = client.execute_stream_flow("say", **request_for(SAID))
            try:
                check_chunks([chunk async for chunk in stream])
            except HttpError:
                # Without the headers, nobody knows which run to ask for.
                refused.append(cut)

    refused: list[int] = []
    length = await to_thread.run_sync(length_of_answer, service)
    await for_each_cut(range(1, length), check)
    assert sorted(refused) == list(range(1, max(refused) + 1))
    assert max(refused) < length - 500


async def test_a_run_that_goes_on_is_resumed_from_many_bytes(service: Service):
    async def check(cut: int) -> None:
        async with (
            cutting_proxy(service.port, [cut]) as url,
            HttpClient(url, trust_env=False, verify=False) as client,
        ):
            stream = client.execute_stream_flow("say_slowly", **request_for(SAID))
            check_chunks([chunk async for chunk in stream])

    length = await to_thread.run_sync(length_of_answer, service)
    await for_each_cut(range(500, length, 11), check)


async def test_a_stream_of_the_service_bears_many_cuts(service: Service):
    async def check(seed: int) -> None:
        # The first answer tells of the run; some of the others bring not even their headers.
        cuts = [700, *(37 * seed * factor % 900 + 1 for factor in range(1, 5))]
        async with (
            cutting_proxy(service.port, cuts) as url,
            HttpClient(url, trust_env=False, verify=False) as client,
        ):
            stream = client.execute_stream_flow("say", **request_for(SAID))
            check_chunks([chunk async for chunk in stream])

    await for_each_cut(range(1, 30), check)


async def test_the_blocking_client_resumes_as_well(service: Service):
    def read(url: str) -> list[dict[str, Any]]:
        with SyncHttpClient(url, trust_env=False, verify=False) as client:
            return list(client.execute_stream_flow("say", **request_for(SAID)))

    async def check(cut: int) -> None:
        async with cutting_proxy(service.port, [cut]) as url:
            check_chunks(await to_thread.run_sync(read, url))

    length = await to_thread.run_sync(length_of_answer, service)
    await for_each_cut(range(500, length, 23), check)
