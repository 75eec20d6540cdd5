from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from flowcore_llamacpp.handoff import Handoff

both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@both_loops
async def test_the_items_of_a_thread_arrive_in_order_and_none_is_lost():
    handoff: Handoff[int] = Handoff()
    thread = threading.Thread(target=lambda: [handoff.put(number) for number in range(20_000)])
    thread.start()

    with anyio.fail_after(20):
        got = [await handoff.get() for _ in range(20_000)]

    thread.join()
    assert got == list(range(20_000))


@both_loops
async def test_a_reader_that_waits_is_woken_by_each_item():
    handoff: Handoff[int] = Handoff()
    read = threading.Semaphore(0)

    def put_when_the_last_was_read():
        for number in range(200):
            handoff.put(number)
            assert read.acquire(timeout=5)

    thread = threading.Thread(target=put_when_the_last_was_read)
    thread.start()
    got = []
    with anyio.fail_after(20):
        for _ in range(200):
            got.append(await handoff.get())
            read.release()

    thread.join()
    assert got == list(range(200))


@both_loops
async def test_a_reader_that_was_cancelled_while_it_waited_can_wait_again():
    handoff: Handoff[str] = Handoff()
    with anyio.move_on_after(0.01) as scope:
        await handoff.get()
    assert scope.cancelled_caught

    thread = threading.Timer(0.01, handoff.put, ["late"])
    thread.start()
    with anyio.fail_after(5):
        assert await handoff.get() == "late"
    thread.join()


async def test_what_is_put_before_the_loop_runs_again_wakes_it_once(monkeypatch):
    loop = asyncio.get_running_loop()
    wakes = []
    call_soon = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda f: wakes.append(f) or call_soon(f))
    handoff: Handoff[int] = Handoff()

    async def put_eight():
        thread = threading.Thread(target=lambda: [handoff.put(number) for number in range(8)])
        thread.start()
        thread.join()

    await put_eight()
    assert [await handoff.get() for _ in range(8)] == list(range(8))
    assert len(wakes) == 1

    await asyncio.sleep(0)
    await put_eight()
    assert len(wakes) == 2


def test_to_put_something_into_a_loop_that_is_closed_is_an_error():
    async def make() -> Handoff[int]:
        return Handoff()

    handoff = asyncio.run(make())

    with pytest.raises(RuntimeError, match="closed"):
        handoff.put(1)
