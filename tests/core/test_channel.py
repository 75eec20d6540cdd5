from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import anyio
import pytest

from flowcore import FlowStreamChunk
from flowcore.channel import Channel, OwnedChunk


class MakeChannel(Protocol):
    def __call__(self, max_chunks: int = 10, max_bytes: int = 1000) -> Channel: ...


@pytest.fixture
def make_channel() -> Iterator[MakeChannel]:
    made: list[Channel] = []

    def make(max_chunks: int = 10, max_bytes: int = 1000) -> Channel:
        made.append(Channel(max_chunks, max_bytes))
        return made[-1]

    yield make
    for channel in made:
        channel.discard()


def chunk(text: str) -> OwnedChunk:
    return OwnedChunk(FlowStreamChunk(chunk=text), len(text))


async def send_all(channel: Channel, texts: list[str], sent: list[str]) -> None:
    for text in texts:
        await channel.send(chunk(text))
        sent.append(text)


async def read_all(channel: Channel) -> list[str]:
    texts: list[str] = []
    while batch := await channel.receive():
        texts += [str(item.chunk) for item in batch]
    return texts


async def test_all_that_is_ready_comes_at_once_and_in_order(make_channel: MakeChannel) -> None:
    channel = make_channel()
    await send_all(channel, ["a", "b", "c"], [])

    assert [item.chunk for item in await channel.receive()] == ["a", "b", "c"]


async def test_a_waiting_reader_gets_a_lone_chunk_at_once(make_channel: MakeChannel) -> None:
    channel = make_channel()
    got: list[str] = []

    async def read() -> None:
        got.extend(str(item.chunk) for item in await channel.receive())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await channel.send(chunk("a"))

    assert got == ["a"]


@pytest.mark.parametrize(
    ("max_chunks", "max_bytes", "expected"), [(3, 1000, 3), (1000, 30, 3), (1, 1, 1), (5, 41, 5)]
)
async def test_a_sender_waits_while_the_channel_is_full(
    max_chunks: int, max_bytes: int, expected: int, make_channel: MakeChannel
) -> None:
    channel = make_channel(max_chunks, max_bytes)
    sent: list[str] = []
    texts = [f"{number:010}" for number in range(20)]

    received: list[str] = []
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(send_all, channel, texts, sent)
            await anyio.wait_all_tasks_blocked()
            assert len(sent) == expected
            while len(received) < 20:
                received += [str(item.chunk) for item in await channel.receive()]

    assert received == texts


async def test_one_chunk_may_be_larger_than_the_bound(make_channel: MakeChannel) -> None:
    channel = make_channel(10, 5)

    with anyio.fail_after(5):
        await channel.send(chunk("x" * 100))

    assert [item.chunk for item in await channel.receive()] == ["x" * 100]


async def test_many_senders_at_once_are_all_let_in_in_the_end(make_channel: MakeChannel) -> None:
    channel = make_channel(2, 20)
    received: list[str] = []

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for sender in range(20):
                group.start_soon(send_all, channel, [f"{sender:02}-{n:02}" for n in range(10)], [])
            while len(received) < 200:
                received += [str(item.chunk) for item in await channel.receive()]

    for sender in range(20):
        own = [text for text in received if text.startswith(f"{sender:02}")]
        assert own == sorted(own)
        assert len(own) == 10


async def test_the_last_chunk_needs_no_room_and_comes_after_all_others(
    make_channel: MakeChannel,
) -> None:
    channel = make_channel(2, 1000)
    await send_all(channel, ["a", "b"], [])

    channel.close([FlowStreamChunk(chunk="last")])

    assert await read_all(channel) == ["a", "b", "last"]
    assert await channel.receive() == []


async def test_a_closed_channel_takes_no_more(make_channel: MakeChannel) -> None:
    channel = make_channel(2, 1000)
    channel.close()

    with pytest.raises(anyio.ClosedResourceError):
        await channel.send(chunk("late"))
    assert await channel.receive() == []


async def test_closing_wakes_a_waiting_reader(make_channel: MakeChannel) -> None:
    channel = make_channel(2, 1000)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.wait_all_tasks_blocked)
            group.start_soon(close_when_all_wait, channel)
            assert await read_all(channel) == ["last"]


async def close_when_all_wait(channel: Channel) -> None:
    await anyio.wait_all_tasks_blocked()
    channel.close([FlowStreamChunk(chunk="last")])


async def test_a_cancelled_receive_loses_nothing(make_channel: MakeChannel) -> None:
    channel = make_channel()
    received: list[str] = []

    async def read_until_cancelled(scope: anyio.CancelScope) -> None:
        with scope:
            received.extend(str(item.chunk) for item in await channel.receive())

    with anyio.fail_after(5):
        for number in range(20):
            scope = anyio.CancelScope()
            async with anyio.create_task_group() as group:
                group.start_soon(read_until_cancelled, scope)
                await anyio.wait_all_tasks_blocked()
                await channel.send(chunk(f"{number}"))
                scope.cancel()
        channel.close()
        received += await read_all(channel)

    assert received == [str(number) for number in range(20)]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_receive_that_asyncio_cancels_loses_nothing(make_channel: MakeChannel) -> None:
    import asyncio

    channel = make_channel()
    task = asyncio.create_task(channel.receive())
    await anyio.wait_all_tasks_blocked()
    await channel.send(chunk("kept"))
    task.cancel()
    await asyncio.wait([task])

    got = [] if task.cancelled() else task.result()
    channel.close()
    assert [str(item.chunk) for item in got] + await read_all(channel) == ["kept"]


async def test_a_send_that_is_cancelled_for_want_of_room_leaves_nothing_behind(
    make_channel: MakeChannel,
) -> None:
    for max_chunks, max_bytes in ((1, 1000), (1000, 1)):
        channel = make_channel(max_chunks, max_bytes)
        await channel.send(chunk("first"))

        with anyio.move_on_after(0.001) as scope:
            await channel.send(chunk("withdrawn"))
        assert scope.cancelled_caught

        assert [item.chunk for item in await channel.receive()] == ["first"]
        with anyio.fail_after(5):
            await channel.send(chunk("second"))
        channel.close()
        assert await read_all(channel) == ["second"]


@pytest.mark.parametrize(("max_chunks", "max_bytes"), [(1, 1000), (1000, 1)])
async def test_discarding_frees_senders_that_wait(
    max_chunks: int, max_bytes: int, make_channel: MakeChannel
) -> None:
    channel = make_channel(max_chunks, max_bytes)
    await channel.send(chunk("queued"))
    refused: list[type[BaseException]] = []

    async def send() -> None:
        try:
            await channel.send(chunk("late"))
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            refused.append(type(error))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            channel.discard()

    assert len(refused) == 3
    assert await channel.receive() == []


async def test_a_sender_that_gives_up_lets_another_in(make_channel: MakeChannel) -> None:
    channel = make_channel(10, 10)
    await channel.send(chunk("x" * 10))
    cancelled = anyio.CancelScope()
    received: list[str] = []

    async def give_up() -> None:
        with cancelled:
            await channel.send(chunk("withdrawn"))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(give_up)
            group.start_soon(channel.send, chunk("a"))
            group.start_soon(channel.send, chunk("b"))
            await anyio.wait_all_tasks_blocked()
            cancelled.cancel()
            while len(received) < 3:
                received += [str(item.chunk) for item in await channel.receive()]

    assert (received[0], sorted(received[1:])) == ("x" * 10, ["a", "b"])


async def test_a_reader_that_never_has_to_wait_comes_to_see_that_it_was_cancelled(
    make_channel: MakeChannel,
) -> None:
    channel = make_channel()

    with anyio.fail_after(5), anyio.CancelScope() as scope:
        for number in range(10):
            await channel.send(chunk(f"{number}"))
            assert number < 3
            if number == 2:
                scope.cancel()
            await channel.receive()

    assert [item.chunk for item in channel.receive_ready()] == ["2"]


async def test_nothing_is_pushed_where_there_is_no_room_or_no_reader(
    make_channel: MakeChannel,
) -> None:
    for channel in (make_channel(1, 1000), make_channel(1000, 1)):
        assert channel.push(*chunk("a"))
        assert not channel.push(*chunk("b"))
        channel.discard()
        assert not channel.push(*chunk("c"))
        assert await channel.receive() == []


async def test_a_reader_that_is_cancelled_and_comes_back_is_woken_again(
    make_channel: MakeChannel,
) -> None:
    channel = make_channel()
    for text in ("a", "b"):
        with anyio.move_on_after(0.001) as scope:
            await channel.receive()
        assert scope.cancelled_caught

        async with anyio.create_task_group() as group:
            with anyio.fail_after(5):
                group.start_soon(send_when_all_wait, channel, text)
                assert [item.chunk for item in await channel.receive()] == [text]


async def send_when_all_wait(channel: Channel, text: str) -> None:
    await anyio.wait_all_tasks_blocked()
    await channel.send(chunk(text))
