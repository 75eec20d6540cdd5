"""What the service counts and measures, in the form that Prometheus reads.

Every label has a bounded set of values: flows and endpoints are those of the app, and codes and
reasons that flowcore does not know share one value.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import anyio.to_thread
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    multiprocess,
)
from prometheus_client.exposition import choose_encoder

from flowcore import FlowApp, Run, RunState
from flowcore_http.inflight import InFlight

OTHER = "other"
"""The label of all values that are not known beforehand."""

# fmt: off
CODES = frozenset({
    "app_closed", "backend_error", "cancelled", "chunk_error", "closed", "config_error",
    "context_exceeded", "first_chunk_timeout", "flowcore_error", "generation_failed",
    "idle_timeout", "invalid_input", "model_load_failed", "model_not_found", "op_definition_error",
    "op_error", "op_failed", "plugin_error", "prompt_error", "request_rejected", "run_failed",
    "shutting_down", "total_timeout", "unknown_name", "upstream_auth", "upstream_busy",
    "upstream_error", "upstream_invalid", "upstream_not_found", "upstream_rate_limited",
    "upstream_rejected", "upstream_reset", "upstream_timeout_connect",
    "upstream_timeout_first_token", "upstream_timeout_idle", "upstream_timeout_total",
    "upstream_truncated", "upstream_unreachable",
})
# fmt: on
"""The codes of failed runs that have a label of their own."""

REASONS = frozenset({"api", "caller", "client", "shutdown", "write_timeout"})
"""The reasons of cancelled runs that have a label of their own."""

_GAP_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_FIRST_CHUNK_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_RUN_SECONDS = (0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_LAG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one server.

    Where the environment variable ``PROMETHEUS_MULTIPROC_DIR`` names a folder, they are kept in
    files there, and what is shown is that of all processes that share it. It has to be set before
    this module is imported, and the folder has to be empty then.

    Args:
        app: The app whose runs are counted.
        in_flight: The requests in progress.
    """

    def __init__(self, app: FlowApp, in_flight: InFlight) -> None:
        self._app = app
        self._in_flight = in_flight
        self._shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._registry = registry = CollectorRegistry()
        if not self._shared:
            ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace="flowcore", registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(
                *(name, text, labels),
                namespace="flowcore",
                registry=registry,
                multiprocess_mode="livesum",
            )

        def seconds(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> _Seconds:
            return _Seconds(
                *(f"{name}_seconds", text, labels),
                namespace="flowcore",
                registry=registry,
                buckets=buckets,
            )

        self._started = counter("runs_started", "Runs that were started.", "flow")
        self._running = gauge("runs_running", "Runs in progress.", "flow")
        self._ended = counter("runs_ended", "Runs that have ended.", "flow", "ending", "code")
        self._cancelled = counter("runs_cancelled", "Runs cancelled.", "flow", "reason")
        self._abandoned = counter("runs_abandoned", "Runs ended without their ops.", "flow")
        self._chunks = counter("chunks", "Chunks that ops of ended runs had emitted.", "flow")
        self._blocked = counter(
            "run_blocked_seconds", "Time that ops of ended runs waited for readers.", "flow"
        )
        self._first_chunk = seconds(
            "run_first_chunk", "From start to first chunk.", _FIRST_CHUNK_SECONDS, "flow"
        )
        self._gap = seconds("run_chunk_gap", "Between deliveries of chunks.", _GAP_SECONDS, "flow")
        self._duration = seconds("run_duration", "From start to end.", _RUN_SECONDS, "flow")
        self._queue = gauge("queue_bytes", "Content that waits for readers.")
        self._lag = seconds("event_loop_lag", "Lateness of the event loop.", _LAG_SECONDS)
        self.stalls = counter("event_loop_stalls", "Times that code blocked the event loop.")
        self._requests = counter(
            "http_requests", "Requests that were answered or cut.", "endpoint", "status"
        )
        self._open_requests = gauge("http_open_requests", "Requests in progress.")
        self._connections = gauge("http_open_connections", "Open connections.")
        self.count_connections: Callable[[], int] = int  # there is no server yet
        # What every run and every request counts in, and is moved to the above when it is shown:
        # to add to plain numbers costs a tenth.
        self._tallies = {name: _FlowTally() for name in app.flows}
        self._answered: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._show_zeros()

    def _show_zeros(self) -> None:
        # A series that begins above zero hides its first increase from rate().
        for flow in self._app.flows:
            for metric in (self._started, self._running, self._abandoned, self._chunks):
                metric.labels(flow)
            for metric in (self._blocked, self._first_chunk, self._gap, self._duration):
                metric.labels(flow)
            for state in (RunState.DONE, RunState.FAILED, RunState.CANCELLED):
                self._ended.labels(flow, state.value, _code(state, "op_failed"))
            self._cancelled.labels(flow, "client")

    # --- runs ---

    def run_started(self, run: Run) -> None:
        """Count a run, now and when it ends."""
        tally = self._tally(run)
        tally.started += 1
        tally.running += 1
        run.add_done_callback(self._run_ended)

    def _run_ended(self, run: Run) -> None:
        tally = self._tally(run)
        tally.running -= 1
        # The clock of these times may be set back meanwhile.
        tally.durations.add(max(0.0, run.ended_at - run.started_at))
        if run.first_chunk_at:
            tally.first_chunks.add(max(0.0, run.first_chunk_at - run.started_at))
        tally.chunks += run.chunks
        tally.blocked_seconds += run.blocked_seconds
        if run.state is RunState.DONE:
            tally.done += 1
        else:
            self._not_done(run)

    def _not_done(self, run: Run) -> None:
        flow = run.flow if run.flow in self._tallies else OTHER
        about = run.failure.metadata if run.failure is not None else {}
        code = _code(run.state, about.get("code", ""))
        self._ended.labels(flow, run.state.value, code).inc()
        if run.state is RunState.CANCELLED:
            reason = run.cancel_reason if run.cancel_reason in REASONS else OTHER
            self._cancelled.labels(flow, reason).inc()
        if run.abandoned:
            self._abandoned.labels(flow).inc()

    def gap_meter(self, run: Run) -> Callable[[float], None]:
        """Return what is to be called at each delivery of chunks of ``run``."""
        return _GapMeter(self._tally(run).gaps).delivered

    def _tally(self, run: Run) -> _FlowTally:
        tally = self._tallies.get(run.flow)
        return tally or self._tallies.setdefault(OTHER, _FlowTally())

    # --- requests, connections and the event loop ---

    def request_ended(self, endpoint: str, status: int) -> None:
        """Count a request.

        Args:
            endpoint: The path of its route, or empty if there is none.
            status: The status of the answer, or 0 if there was none.
        """
        self._answered[endpoint, status] += 1

    def loop_ticked(self, lag: float) -> None:
        """Take note of how late the event loop was, in seconds."""
        self._lag.observe(lag)
        if self._shared:
            # Another process may be asked.
            self._collect()

    # --- showing them ---

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics and their content type.

        Args:
            accept: The header ``Accept`` of the request: OpenMetrics is sent where it asks so.
        """
        self._collect()
        registry = self._registry
        if self._shared:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is no number
            encode, content_type = choose_encoder("")
        # With hundreds of flows, or files to read, it takes a while.
        return await anyio.to_thread.run_sync(encode, registry), content_type

    def _collect(self) -> None:
        self._connections.set(self.count_connections())
        self._open_requests.set(self._in_flight.count)
        self._queue.set(sum(run.queued_bytes for run in self._app.runs.values()))
        for flow, tally in self._tallies.items():
            self._move(flow, tally)
        for (endpoint, status), count in self._answered.items():
            kind = f"{status // 100}xx" if status else "none"
            self._requests.labels(endpoint or OTHER, kind).inc(count)
        self._answered.clear()

    def _move(self, flow: str, tally: _FlowTally) -> None:
        self._running.labels(flow).set(tally.running)
        self._started.labels(flow).inc(tally.started)
        self._ended.labels(flow, RunState.DONE.value, "").inc(tally.done)
        self._chunks.labels(flow).inc(tally.chunks)
        self._blocked.labels(flow).inc(tally.blocked_seconds)
        tally.started = tally.done = tally.chunks = 0
        tally.blocked_seconds = 0.0
        self._duration.labels(flow).move(tally.durations)
        self._first_chunk.labels(flow).move(tally.first_chunks)
        self._gap.labels(flow).move(tally.gaps)


class _Seconds(Histogram):
    """A histogram that takes many observations at once."""

    _sum: Any
    _buckets: list[Any]

    def move(self, tally: _Tally) -> None:
        """Add what a tally has counted, and let it begin anew."""
        # Not by the total: what takes less than a tick of the clock is counted too.
        if not any(tally.counts):
            return
        self._sum.inc(tally.total)
        tally.total = 0.0
        for index, count in enumerate(tally.counts):
            if count:
                self._buckets[index].inc(count)
                tally.counts[index] = 0


class _Tally:
    """The observations of a histogram since they were last shown."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Add an observation."""
        self.total += seconds
        self.counts[bisect_left(self._bounds, seconds)] += 1


class _FlowTally:
    """What happened to the runs of one flow since it was last shown, and how many there are."""

    __slots__ = (
        *("blocked_seconds", "chunks", "done", "running", "started"),
        *("durations", "first_chunks", "gaps"),
    )

    def __init__(self) -> None:
        self.started = self.running = self.done = self.chunks = 0
        self.blocked_seconds = 0.0
        self.durations = _Tally(_RUN_SECONDS)
        self.first_chunks = _Tally(_FIRST_CHUNK_SECONDS)
        self.gaps = _Tally(_GAP_SECONDS)


class _GapMeter:
    __slots__ = ("_last", "_tally")

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._last = 0.0

    def delivered(self, now: float) -> None:
        last, self._last = self._last, now
        if last:
            self._tally.add(now - last)


def _code(state: RunState, code: object) -> str:
    if state is not RunState.FAILED:
        return ""
    return code if isinstance(code, str) and code in CODES else OTHER
