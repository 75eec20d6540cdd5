from __future__ import annotations

import importlib
import logging
import signal
import threading
import time
from contextlib import aclosing

import anyio
import httpx
import pytest

from flowcore import BackendError, ChunkEnum, Message

# Fills the context, which takes 25 s and more.
LONG = {"max_tokens": -1, "ignore_eos": True}


async def test_four_questions_are_answered_in_one_batch(llm, metric):
    questions = ["What is ai", "Why is the sky blue?", "Name three colors.", "Say hello."]
    first_chunks = 0
    all_begun = anyio.Event()
    lengths = []

    async def ask(question):
        nonlocal first_chunks
        async for chunk in llm.astream_chat(
            [Message(content=question)], max_tokens=24, ignore_eos=True
        ):
            if chunk.chunk_type is ChunkEnum.USAGE:
                lengths.append(chunk.chunk["completion_tokens"])
                return
            if not first_chunks or chunk.chunk_type is ChunkEnum.ANSWER:
                first_chunks += 1
            if first_chunks >= 4:
                all_begun.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for question in questions:
                tasks.start_soon(ask, question)
            await all_begun.wait()
            assert await metric("requests_processing") == 4

    assert lengths == [24, 24, 24, 24]


async def test_more_requests_than_the_batch_holds_wait_for_their_turn(llm, colors):
    replies = []

    async def ask():
        replies.append((await llm.achat(colors)).metadata["finish_reason"])

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(ask)

    assert replies == ["stop"] * 6


async def test_the_event_loop_keeps_running_while_the_model_generates(llm, colors):
    gaps = []
    ended = anyio.Event()

    async def tick():
        last = time.perf_counter()
        while not ended.is_set():
            await anyio.sleep(0.002)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            await llm.achat(colors, max_tokens=40, ignore_eos=True)
            ended.set()

    assert len(gaps) > 20
    assert max(gaps) < 0.25


async def test_a_slow_reader_loses_nothing_and_holds_up_nobody(llm, colors):
    with anyio.fail_after(30):
        async with aclosing(llm.astream_chat(colors, max_tokens=20, ignore_eos=True)) as slow:
            await anext(slow)
            for _ in range(4):
                await llm.achat(colors)
            rest = [chunk async for chunk in slow]

    assert rest[-1].chunk["completion_tokens"] == 20


async def test_closing_the_stream_ends_the_generation(llm, colors, metric, engine_idle):
    chunks = llm.astream_chat(colors, **LONG)
    with anyio.fail_after(30):
        for _ in range(3):
            await anext(chunks)
        assert await metric("requests_processing") == 1
        await chunks.aclose()

        await engine_idle()
        assert (await llm.achat(colors)).metadata["finish_reason"] == "stop"


async def test_cancelling_the_task_ends_the_generation(llm, colors, engine_idle):
    began = anyio.Event()

    async def ask():
        async with aclosing(llm.astream_chat(colors, **LONG)) as chunks:
            async for _ in chunks:
                began.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await began.wait()
            tasks.cancel_scope.cancel()

        await engine_idle()


async def test_cancelling_within_a_long_prompt_ends_it(llm, metric, engine_idle):
    prompt = [Message(content="one two three " * 1200)]
    with anyio.fail_after(30):
        before = await metric("prompt_tokens_total")
        with anyio.move_on_after(0.05) as scope:
            await llm.achat(prompt)

        assert scope.cancelled_caught
        await engine_idle()
        assert await metric("prompt_tokens_total") - before < 3000


async def test_a_request_that_still_waits_can_be_cancelled(llm, colors, engine_idle):
    with anyio.fail_after(30):
        streams = [llm.astream_chat(colors, **LONG) for _ in range(4)]
        for stream in streams:
            await anext(stream)
        with anyio.move_on_after(0.05) as scope:
            await llm.achat(colors)
        assert scope.cancelled_caught
        for stream in streams:
            await stream.aclose()

        await engine_idle()


async def test_first_calls_at_once_load_the_model_once(make_llm, colors, monkeypatch):
    loads = []
    xllamacpp = importlib.import_module("xllamacpp")
    server = xllamacpp.Server
    monkeypatch.setattr(
        xllamacpp, "Server", lambda params: loads.append(params.model.path) or server(params)
    )
    llm = make_llm(n_parallel=2, n_ctx=256, max_tokens=2)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(llm.achat, colors)

    assert len(loads) == 1


async def test_closing_the_model_ends_its_threads_and_what_they_generate(make_llm, colors):
    before = set(threading.enumerate())
    llm = make_llm(n_parallel=1, n_ctx=256)
    running, waiting = llm.astream_chat(colors, **LONG), llm.astream_chat(colors)
    errors = []

    async def read(stream):
        with pytest.raises(BackendError) as error:
            async for _ in stream:
                pass
        errors.append(error.value.code)

    with anyio.fail_after(30):
        await anext(running)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, running)
            tasks.start_soon(read, waiting)
            await anyio.wait_all_tasks_blocked()
            await llm.aclose()

    assert errors == ["closed", "closed"]
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name.startswith("flowcore-llamacpp")]
    with pytest.raises(BackendError, match="closed"):
        await llm.achat(colors)


async def test_closing_a_model_that_never_loaded_is_quick(make_llm):
    with anyio.fail_after(5):
        await make_llm().aclose()


async def test_the_port_of_the_engine_is_locked(llm, colors):
    with anyio.fail_after(30):
        await llm.achat(colors, max_tokens=1)
    address = llm._model.server().listening_address

    async with httpx.AsyncClient(trust_env=False) as client:
        origin = {"Origin": "https://page.example"}
        for path in ("/v1/models", "/slots", "/metrics", "/props"):
            answer = await client.get(address + path, headers=origin)
            assert answer.status_code in {401, 404, 501}
            assert answer.headers.get("access-control-allow-origin") not in {"*", *origin.values()}
        answer = await client.post(address + "/v1/chat/completions", json={"messages": []})
        assert answer.status_code == 401


async def test_the_engine_leaves_the_signals_of_the_process_alone(make_llm, colors):
    seen = []
    previous = signal.signal(signal.SIGINT, lambda *_: seen.append("int"))
    try:
        with anyio.fail_after(30):
            await make_llm(n_parallel=1, n_ctx=256).achat(colors, max_tokens=1)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, previous)

    assert seen == ["int"]


@pytest.mark.parametrize(("level", "logs"), [(logging.INFO, False), (logging.DEBUG, True)])
async def test_the_log_of_the_engine_is_silent_unless_debugging(
    make_llm, colors, capfd, caplog, level, logs
):
    caplog.set_level(level, logger="flowcore_llamacpp")
    llm = make_llm(n_parallel=1, n_ctx=256)
    with anyio.fail_after(30):
        await llm.achat(colors, max_tokens=1)
        await llm.aclose()

    out, err = capfd.readouterr()
    assert (out, bool(err)) == ("", logs)
