from __future__ import annotations

from typing import Any

import pytest

from flowcore import BaseAsyncOp, FlowApp, FlowStreamChunk, SyncFlowApp


class SayOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="hi"))


@pytest.mark.parametrize("name", ["stream", "trace"])
async def test_who_forgets_async_with_is_told_to_write_it(name: str) -> None:
    async with FlowApp({}, flows={"say": SayOp()}) as app:
        forgotten: Any = getattr(app, name)("say")
        with pytest.raises(TypeError, match=rf"enter it first: `async with app\.{name}\("):
            async for _ in forgotten:
                pass

        assert not app.runs


def test_who_forgets_with_is_told_to_write_it() -> None:
    with SyncFlowApp({}, flows={"say": SayOp()}) as app:
        forgotten: Any = app.stream("say")
        with pytest.raises(TypeError, match=r"enter it first: `with app\.stream\("):
            list(forgotten)


async def test_an_error_in_the_block_is_raised_as_it_is() -> None:
    async with FlowApp({}, flows={"say": SayOp()}) as app:
        with pytest.raises(LookupError, match="mine"):
            async with app.stream("say"):
                raise LookupError("mine")
