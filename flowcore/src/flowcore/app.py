"""The app: configuration, plugins, flows and shared backends in one; the owner of every run."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import anyio

from flowcore.assembly import assemble
from flowcore.config import FlowConfig, load_config
from flowcore.entrance import async_entrance
from flowcore.errors import (
    AppBusyError,
    AppClosedError,
    ConfigError,
    UnknownNameError,
)
from flowcore.execution import execute
from flowcore.flow import Flow
from flowcore.limits import RunLimits
from flowcore.op import Op
from flowcore.plugins import PluginHost
from flowcore.run import Run
from flowcore.schema import FlowResponse
from flowcore.service import BaseService
from flowcore.stream import ChunkStream, TraceStream, leave, read_response
from flowcore.tasks import RunTasks
from flowcore.user_module import import_user_module
from flowcore.validation import validate_section
from flowcore.watchdog import Watchdog

logger = logging.getLogger("flowcore")

ConfigSource = str | os.PathLike[str] | Mapping[str, Any]


class FlowApp:
    """Runs flows. Everything is checked when it is made; it works while it is open.

    Args:
        config: The configuration, or what :func:`load_config` takes as its first source.
        *overrides: Further sources for :func:`load_config`.
        plugins: Plugins given as objects, besides those that are installed.
        flows: Flows made in Python, by name, besides those of the configuration.

    Attributes:
        config: The configuration.
        plugins: The plugins.
        catalog: The classes that are registered.
        backends: The models and stores, made on first use.
        flows: All flows, by name.
        runs: The runs that have not ended, by id.
        abandoned_runs: How many runs ended without ops that ignored their cancellation.

    Raises:
        ConfigError: If the configuration, a flow or a backend's settings are wrong.
        DuplicateNameError: If two plugins claim one name.

    Example:
        ``async with FlowApp("my.yaml") as app: answer = await app.execute("flow", query="…")``
    """

    def __init__(
        self,
        config: FlowConfig | ConfigSource = "default",
        *overrides: str,
        plugins: Iterable[object] = (),
        flows: Mapping[str, Op | Flow] | None = None,
    ) -> None:
        self.config = config if isinstance(config, FlowConfig) else load_config(config, *overrides)
        self.plugins = PluginHost()
        for index, module in enumerate(self.config.imports):
            self.plugins.add(
                import_user_module(module, self.config.origins.find(("imports", index)))
            )
        for plugin in plugins:
            self.plugins.add(plugin)
        self.plugins.add_user_code()
        self.catalog = self.plugins.catalog
        self.backends, self.flows = assemble(self.config, self.plugins, flows or {})
        self.runs: dict[str, Run] = {}
        self.abandoned_runs = 0
        self._deaf: WeakSet[Run] = WeakSet()  # as long as their tasks
        self._observer = self.plugins.observer()
        self._limits = {name: self._limits_of(flow) for name, flow in self.flows.items()}
        self._tasks: RunTasks | None = None
        self._stack = AsyncExitStack()

    # --- life ---

    @property
    def is_open(self) -> bool:
        """Whether runs may be started."""
        return self._tasks is not None

    async def __aenter__(self) -> Self:
        if self.is_open:
            raise AppClosedError("the app is open already")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.backends.aclose)
            for lifespan in self.plugins.lifespans(self):
                await stack.enter_async_context(lifespan)
            # Not on the stack: a task group wraps what it sees passing into an ExceptionGroup.
            self._tasks = await RunTasks().__aenter__()
            self._watching = anyio.CancelScope()
            # Which asks each time on which event loop it runs.
            self._new_scope = type(self._watching)
            self._watchdog = Watchdog(self.runs, self._limits.values())
            self._tasks.start(self._watch, name="flowcore watchdog")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel the runs that are left, then leave the lifespans and close the backends."""
        tasks, self._tasks = self._tasks, None
        for run in tuple(self.runs.values()):
            run.cancel("shutdown")
        try:
            if tasks is not None:
                self._stop_watching()
                for run in self._deaf:
                    ops = ", ".join(repr(op.name) for op in run.active_ops)
                    text = "run %s of flow %r: waiting for op %s, which ignores its cancellation"
                    logger.warning(text, run.id, run.flow, ops)
                await tasks.__aexit__()
        finally:
            await self._stack.__aexit__(kind, error, traceback)

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until no run is left, at most ``timeout`` seconds; return whether that is so."""
        with anyio.move_on_after(timeout):
            while self.runs:
                await next(iter(self.runs.values())).wait()
        return not self.runs

    # --- runs ---

    def start(self, flow: str, /, inputs: Mapping[str, Any], *, trace: bool = False) -> Run:
        """Start a run and return it at once; whoever reads it also has to cancel it on leaving.

        Args:
            flow: Name of the flow.
            inputs: Its inputs.
            trace: Whether it tells when its ops start and end, to those who read its ``trace``.

        Raises:
            UnknownNameError: If there is no such flow.
            InputError: If the inputs do not fit the flow's ``input_schema``.
            AppBusyError: If ``max_concurrent_runs`` runs are running.
            AppClosedError: If the app is not open.
        """
        if self._tasks is None:
            raise AppClosedError("the app is not open; use it in `async with FlowApp(…) as app:`")
        if flow not in self.flows:
            raise UnknownNameError("flow", flow, self.flows)
        template = self.flows[flow]
        values = template.validate(inputs)
        if len(self.runs) >= self.config.max_concurrent_runs:
            raise AppBusyError(
                f"max_concurrent_runs is {len(self.runs)}, and as many runs are in progress; "
                "try again later, or raise it"
            )
        run = Run(
            flow,
            values,
            self.backends,
            observer=self._observer,
            limits=self._limits[flow],
            traced=trace,
            new_scope=self._new_scope,
        )
        self.runs[run.id] = run
        run.add_done_callback(self._forget)
        self._watchdog.wake()
        self._tasks.start(execute, run, template.execute, name=f"flowcore run {run.id}")
        return run

    def _forget(self, run: Run) -> None:
        del self.runs[run.id]
        if run.abandoned:
            self.abandoned_runs += 1
            self._deaf.add(run)
        if self._tasks is None:
            self._stop_watching()

    def _stop_watching(self) -> None:
        # It is needed until the last run has ended, for runs that do not end by themselves.
        if not self.runs:
            self._watching.cancel()

    async def _watch(self) -> None:
        with self._watching:
            await self._watchdog.watch()

    async def execute(self, flow: str, /, **inputs: Any) -> FlowResponse:
        """Run a flow to its end and return its answer.

        The answer is what the ops set as ``context.response.answer``; where they set none, it is
        the text that they streamed.

        Raises:
            UnknownNameError: If there is no such flow.
            InputError: If the inputs do not fit.
            RunCancelledError: If the run was cancelled by others.
            Exception: Whatever an op raised, as it was raised.
        """
        return await read_response(self.start(flow, inputs))

    @async_entrance
    async def stream(self, flow: str, /, **inputs: Any) -> AsyncGenerator[ChunkStream]:
        """Run a flow and iterate over its chunks; leaving the block cancels what still runs.

        The last chunk of a run that failed is its ``error`` chunk; after it, the iteration raises
        what the op raised.

        Raises:
            UnknownNameError: If there is no such flow.
            InputError: If the inputs do not fit.

        Example:
            ``async with app.stream("flow", query="…") as chunks: async for chunk in chunks: …``
        """
        run = self.start(flow, inputs)
        try:
            yield ChunkStream(run)
        finally:
            await leave(run)

    @async_entrance
    async def trace(self, flow: str, /, **inputs: Any) -> AsyncGenerator[TraceStream]:
        """Run a flow and iterate over its chunks, as :meth:`stream` does, and over its ops' events.

        Among the chunks is an :class:`OpEvent` whenever an op starts or ends.

        Raises:
            UnknownNameError: If there is no such flow.
            InputError: If the inputs do not fit.

        Example:
            ``async with app.trace("flow", query="…") as items: async for item in items: …``
        """
        run = self.start(flow, inputs, trace=True)
        try:
            yield TraceStream(run)
        finally:
            await leave(run)

    # --- services ---

    def service(self) -> BaseService:
        """Return the service that the configuration's ``backend`` names, not yet started.

        Raises:
            ConfigError: If there is none, or its section is wrong.
        """
        name = self.config.backend
        try:
            cls = self.catalog.services.lookup(name, self.plugins.hint(name))
        except UnknownNameError as error:
            raise ConfigError(str(error), self.config.origins.find(("backend",))) from None
        section: Mapping[str, Any] = self.config.sections.get(name) or {}
        return cls(validate_section(cls.Settings, section, self.config.origins, (name,)))

    # --- checks at the start ---

    def _limits_of(self, flow: Flow) -> RunLimits:
        config = self.config
        return RunLimits(
            max_chunks=config.stream_buffer_chunks,
            max_bytes=config.stream_buffer_bytes,
            max_chunk_bytes=config.max_chunk_bytes,
            max_answer_bytes=config.max_answer_bytes,
            deadlines=config.deadlines.overridden_by(flow.deadlines),
            cleanup=config.deadlines.cleanup,
            streamed=flow.stream,
            show_errors=config.show_errors,
        )
