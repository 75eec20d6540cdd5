"""What the core costs, in one process and without a network: a run, an op more, a chunk.

Each figure stands beside what is written by hand with anyio alone, measured in turn within one
run, as CPU time: take the ratios. `python benchmarks/core_cost.py` prints the medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable

import anyio
from anyio.lowlevel import checkpoint

from flowcore import BaseAsyncOp, FlowApp, FlowStreamChunk, Op

ROUNDS = 7
CHUNKS = 1000
RUNS = 300


class EmptyOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        self.context.response.answer = "x"


class BurstOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        for _ in range(CHUNKS):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="hello "))


class PacedOp(BaseAsyncOp):
    """Emits one chunk in each turn of the event loop, so that the reader waits for each."""

    async def async_execute(self) -> None:
        for _ in range(CHUNKS):
            await checkpoint()
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="hello "))


class PauseOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        for _ in range(CHUNKS):
            await checkpoint()


async def read(app: FlowApp, flow: str) -> None:
    """Read a run as a service does: all chunks that are ready, at once."""
    run = app.start(flow, {})
    while await run.receive():
        pass


async def by_hand(chunks: int) -> None:
    """Run a task that sends chunks through a memory stream, and read them."""
    send, receive = anyio.create_memory_object_stream[FlowStreamChunk](256)

    async def produce() -> None:
        async with send:
            for _ in range(chunks):
                await send.send(FlowStreamChunk(chunk="hello "))

    async with anyio.create_task_group() as tasks, receive:
        tasks.start_soon(produce)
        async for _ in receive:
            pass


async def seconds(work: Callable[[], Awaitable[object]], times: int) -> float:
    """Return the CPU time of one call."""
    began = time.process_time()
    for _ in range(times):
        await work()
    return (time.process_time() - began) / times


async def main() -> None:
    eleven: Op = EmptyOp()
    for _ in range(10):
        eleven = eleven >> EmptyOp()
    figures: dict[str, list[float]] = {}
    flows: dict[str, Op] = {
        "one": EmptyOp(),
        "eleven": eleven,
        "burst": BurstOp(),
        "paced": PacedOp(),
        "pause": PauseOp(),
    }
    async with FlowApp({}, flows=flows) as app:
        for _ in range(ROUNDS):
            one = await seconds(lambda: app.execute("one"), RUNS)
            more = await seconds(lambda: app.execute("eleven"), RUNS)
            burst = await seconds(lambda: read(app, "burst"), 5)
            paced = await seconds(lambda: read(app, "paced"), 2)
            pause = await seconds(lambda: read(app, "pause"), 2)
            hand_run = await seconds(lambda: by_hand(1), RUNS)
            hand_burst = await seconds(lambda: by_hand(CHUNKS), 5)
            for name, value in (
                ("a run of one op", one),
                ("a task and a stream by hand", hand_run),
                ("one more op in a flow", (more - one) / 10),
                ("a chunk of a burst", burst / CHUNKS),
                ("a chunk of a burst by hand", hand_burst / CHUNKS),
                ("a chunk that is waited for", (paced - pause) / CHUNKS),
            ):
                figures.setdefault(name, []).append(value)
    for name, values in figures.items():
        print(f"{name:30}{statistics.median(values) * 1e6:8.1f} us")


if __name__ == "__main__":
    anyio.run(main)
