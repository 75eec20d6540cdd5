from __future__ import annotations

import asyncio

import anyio
import pytest

from flowcore import BaseAsyncOp, FlowApp, RunState
from flowcore.tasks import RunTasks


async def test_leaving_waits_for_all_tasks() -> None:
    ended: list[int] = []

    async def task(number: int) -> None:
        await anyio.sleep(0.001 * number)
        ended.append(number)

    with anyio.fail_after(5):
        async with RunTasks() as tasks:
            for number in range(5):
                tasks.start(task, number, name=f"task {number}")

    assert sorted(ended) == [0, 1, 2, 3, 4]


async def test_leaving_waits_also_where_it_is_cancelled() -> None:
    go = anyio.Event()
    ended: list[str] = []

    async def task() -> None:
        with anyio.CancelScope(shield=True):
            await go.wait()
            ended.append("task")

    async def leave(scope: anyio.CancelScope) -> None:
        with scope:
            async with RunTasks() as tasks:
                tasks.start(task, name="task")
        ended.append("left")

    scope = anyio.CancelScope()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(leave, scope)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert ended == []
            go.set()

    assert ended == ["task", "left"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_leaving_waits_also_where_asyncio_cancels_it() -> None:
    go = asyncio.Event()
    ended: list[str] = []

    async def task() -> None:
        await go.wait()
        ended.append("task")

    async def leave() -> None:
        try:
            async with RunTasks() as tasks:
                tasks.start(task, name="task")
        finally:
            ended.append("left")

    leaving = asyncio.create_task(leave())
    for _ in range(2):
        await anyio.wait_all_tasks_blocked()
        leaving.cancel()
    await anyio.wait_all_tasks_blocked()
    assert ended == []
    go.set()
    await asyncio.wait([leaving])

    assert ended == ["task", "left"]
    assert leaving.cancelled()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_run_whose_task_is_cancelled_from_outside_takes_no_other_along() -> None:
    class WaitOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.context.go.wait()
            self.context.response.answer = "went on"

    go = anyio.Event()
    async with FlowApp({}, flows={"f": WaitOp()}) as app:
        with anyio.fail_after(5):
            victim, other = app.start("f", {"go": go}), app.start("f", {"go": go})
            await anyio.wait_all_tasks_blocked()
            names = {task.get_name(): task for task in asyncio.all_tasks()}
            names[f"flowcore run {victim.id}"].cancel()
            await victim.wait()
            go.set()
            await other.wait()

    assert (victim.state, other.state) == (RunState.FAILED, RunState.DONE)
