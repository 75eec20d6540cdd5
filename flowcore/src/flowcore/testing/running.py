"""Ops and flows run without a server, for tests to look at what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flowcore.app import FlowApp
from flowcore.ending import RunState
from flowcore.op import Op
from flowcore.schema import ChunkEnum, FlowResponse, FlowStreamChunk
from flowcore.sync_app import SyncFlowApp


@dataclass
class RunResult:
    """What came of a run.

    Attributes:
        chunks: All chunks, in order.
        response: The response that the ops filled in.
        state: How the run ended.
        error: What an op raised, or None.
    """

    chunks: list[FlowStreamChunk] = field(default_factory=list[FlowStreamChunk])
    response: FlowResponse = field(default_factory=FlowResponse)
    state: RunState = RunState.RUNNING
    error: BaseException | None = None

    @property
    def text(self) -> str:
        """The answer as streamed: the texts of all ``answer`` chunks, joined."""
        return "".join(self.texts(ChunkEnum.ANSWER))

    def texts(self, kind: ChunkEnum = ChunkEnum.ANSWER) -> list[str]:
        """Return the texts of all chunks of one type; without one, those of the answer."""
        return [str(chunk.chunk) for chunk in self.chunks if chunk.chunk_type is kind]


async def collect(app: FlowApp, flow: str, /, **inputs: Any) -> RunResult:
    """Run a flow of an open app to its end; a failure is in the result and not raised.

    Raises:
        UnknownNameError: If there is no such flow.
        InputError: If the inputs do not fit.
    """
    result = RunResult()
    async with app.stream(flow, **inputs) as chunks:
        run = chunks.run
        while batch := await run.receive():
            result.chunks += batch
        await run.wait()
    result.response, result.state, result.error = run.response, run.state, run.error
    return result


async def run_op(op: Op, config: Mapping[str, Any] | None = None, /, **inputs: Any) -> RunResult:
    """Run one op, or ops joined by operators, in an app of its own.

    Args:
        op: The op.
        config: Configuration of the app, where the op needs entries such as ``llm``.
        **inputs: Values of the context.

    Raises:
        Exception: Whatever the op raised, as it was raised.
    """
    async with FlowApp(config or {}, flows={"op": op}) as app:
        result = await collect(app, "op", **inputs)
    if result.error is not None:
        raise result.error
    return result


class AppUnderTest(SyncFlowApp):
    """A :class:`SyncFlowApp` that can also tell all that came of a run."""

    def collect(self, flow: str, /, **inputs: Any) -> RunResult:
        """Blocking twin of :func:`collect`."""
        return self._open_portal().call(partial(collect, self.app, flow, **inputs))
