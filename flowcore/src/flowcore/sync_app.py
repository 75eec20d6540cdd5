"""The blocking twin of the app."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from flowcore.app import ConfigSource, FlowApp
from flowcore.config import FlowConfig
from flowcore.entrance import entrance
from flowcore.errors import AppClosedError
from flowcore.flow import Flow
from flowcore.op import Op
from flowcore.schema import FlowResponse, FlowStreamChunk
from flowcore.stream import ChunkStream


class SyncFlowApp:
    """Blocking twin of :class:`FlowApp`, for scripts and notebooks.

    Its runs live in an event loop in a thread of its own. The arguments are those of FlowApp.

    Example:
        ``with SyncFlowApp("my.yaml") as app: print(app.execute("flow", query="…").answer)``
    """

    def __init__(
        self,
        config: FlowConfig | ConfigSource = "default",
        *overrides: str,
        plugins: Iterable[object] = (),
        flows: Mapping[str, Op | Flow] | None = None,
    ) -> None:
        self.app = FlowApp(config, *overrides, plugins=plugins, flows=flows)
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self.app))
            self._stack = stack.pop_all()
        self._portal = portal
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal = None
        self._stack.__exit__(kind, error, traceback)

    def execute(self, flow: str, /, **inputs: Any) -> FlowResponse:
        """Run a flow to its end and return its answer; see :meth:`FlowApp.execute`."""
        return self._open_portal().call(partial(self.app.execute, flow, **inputs))

    @entrance
    def stream(self, flow: str, /, **inputs: Any) -> Generator[Iterator[FlowStreamChunk]]:
        """Run a flow and iterate over its chunks; see :meth:`FlowApp.stream`."""
        portal = self._open_portal()
        manager: AbstractAsyncContextManager[ChunkStream] = self.app.stream(flow, **inputs)
        with portal.wrap_async_context_manager(manager) as chunks:
            yield _iterate(portal, chunks)

    def _open_portal(self) -> BlockingPortal:
        if self._portal is None:
            raise AppClosedError("the app is not open; use it in `with SyncFlowApp(…) as app:`")
        return self._portal


def _iterate(portal: BlockingPortal, chunks: ChunkStream) -> Iterator[FlowStreamChunk]:
    while True:
        try:
            chunk = portal.call(chunks.__anext__)
        except StopAsyncIteration:
            return
        yield chunk
