"""Metrics: what is counted, with which labels, by whom, and at what cost."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import pytest
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.parser import text_string_to_metric_families

from flowcore import BackendError, BaseAsyncOp, FlowApp, FlowStreamChunk
from flowcore_http.inflight import InFlight
from flowcore_http.metrics import CODES, Metrics

from .observed import observed

Read = Callable[..., float]


class GreetOp(BaseAsyncOp):
    async def async_execute(self):
        for text in ("hello", " ", "world"):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=text))
            await anyio.sleep(0.05)


class FailOp(BaseAsyncOp):
    async def async_execute(self):
        code = self.context.get("code")
        raise BackendError("no", code=code) if code else ValueError("no")


class WaitOp(BaseAsyncOp):
    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="hello"))
        await anyio.sleep_forever()


class Reading:
    """What /metrics showed at one time."""

    def __init__(self, text: str) -> None:
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.samples.get((name, frozenset(labels.items())))

    def values_of(self, label: str) -> set[str]:
        return {dict(labels)[label] for _, labels in self.samples if label in dict(labels)}


async def read(client: httpx.AsyncClient) -> Reading:
    response = await client.get("/metrics")
    assert response.status_code == 200
    return Reading(response.text)


async def read_until(client: httpx.AsyncClient, condition: Callable[[Reading], bool]) -> Reading:
    """Read until the end of a request that the client has left has been noticed."""
    with anyio.fail_after(5):
        while not condition(reading := await read(client)):
            await anyio.sleep(0.01)
        return reading


@pytest.fixture
def client_of():
    return lambda server: httpx.AsyncClient(base_url=server.url)


async def test_a_run_that_is_done_is_counted_and_measured(serve, client_of):
    async with serve({"greet": "GreetOp()"}, GreetOp) as server, client_of(server) as client:
        before = await read(client)
        await client.post("/greet", json={})
        after = await read(client)

    assert before("flowcore_runs_started_total", flow="greet") == 0
    assert before("flowcore_runs_ended_total", flow="greet", ending="done", code="") == 0
    assert after("flowcore_runs_started_total", flow="greet") == 1
    assert after("flowcore_runs_running", flow="greet") == 0
    assert after("flowcore_runs_ended_total", flow="greet", ending="done", code="") == 1
    assert after("flowcore_chunks_total", flow="greet") == 3
    assert after("flowcore_run_first_chunk_seconds_count", flow="greet") == 1
    assert after("flowcore_run_duration_seconds_count", flow="greet") == 1
    assert 0.05 < (after("flowcore_run_duration_seconds_sum", flow="greet") or 0) < 5


async def test_the_gaps_between_deliveries_are_measured(serve, client_of):
    async with serve({"greet": "GreetOp()"}, GreetOp) as server, client_of(server) as client:
        await client.post("/greet", json={})
        after = await read(client)

    assert after("flowcore_run_chunk_gap_seconds_count", flow="greet") == 2
    assert after("flowcore_run_chunk_gap_seconds_bucket", flow="greet", le="0.01") == 0
    assert after("flowcore_run_chunk_gap_seconds_bucket", flow="greet", le="+Inf") == 2


async def test_what_takes_less_than_a_tick_of_the_clock_is_counted_too():
    async with FlowApp({}, flows={"greet": GreetOp()}) as app:
        metrics = Metrics(app, InFlight())
        delivered = metrics.gap_meter(app.start("greet", {}))
        delivered(1.0)
        delivered(1.0)

        text, _ = await metrics.render("")

    assert Reading(text.decode())("flowcore_run_chunk_gap_seconds_count", flow="greet") == 1


@pytest.mark.parametrize(
    ("inputs", "label"),
    [
        ({}, "op_failed"),
        ({"code": "upstream_reset"}, "upstream_reset"),
        ({"code": "x" * 99}, "other"),
    ],
)
async def test_a_failed_run_is_counted_by_its_code(serve, client_of, inputs, label):
    async with serve({"fail": "FailOp()"}, FailOp) as server, client_of(server) as client:
        await client.post("/fail", json=inputs)
        after = await read(client)

    assert after("flowcore_runs_ended_total", flow="fail", ending="failed", code=label) == 1
    assert after.values_of("code") <= {*CODES, "other", ""}


async def test_a_client_that_leaves_is_the_cause_of_a_cancelled_run(serve, client_of):
    async with serve({"wait": "WaitOp()"}, WaitOp) as server, client_of(server) as client:
        async with client.stream("POST", "/wait", json={}) as response:
            texts = response.aiter_text()
            await anext(texts)
            during = await read(client)
        after = await read_until(client, lambda now: now("flowcore_runs_running", flow="wait") == 0)

    assert during("flowcore_runs_running", flow="wait") == 1
    assert during("flowcore_http_open_requests") == 2
    assert after("flowcore_runs_ended_total", flow="wait", ending="cancelled", code="") == 1
    assert after("flowcore_runs_cancelled_total", flow="wait", reason="client") == 1


async def test_requests_are_counted_by_endpoint_and_class_of_status(serve, client_of):
    async with serve({"greet": "GreetOp()"}, GreetOp) as server, client_of(server) as client:
        await client.post("/greet", json={})
        await client.post("/greet", content="no JSON")
        await client.get("/greet")
        await client.get("/health")
        for number in range(20):
            await client.get(f"/unknown{number}")
        after = await read(client)

    def requests(endpoint: str, status: str) -> float | None:
        return after("flowcore_http_requests_total", endpoint=endpoint, status=status)

    assert requests("/greet", "2xx") == 1
    assert requests("/greet", "4xx") == 2
    assert requests("/health", "2xx") == 1
    assert requests("other", "4xx") == 20
    assert not [value for value in after.values_of("endpoint") if "unknown" in value]


async def test_the_process_and_the_service_are_shown(serve, client_of):
    async with serve({"greet": "GreetOp()"}, GreetOp) as server, client_of(server) as client:
        after = await read(client)

    assert after("flowcore_http_open_requests") == 1
    assert after("flowcore_http_open_connections") == 1
    assert after("flowcore_queue_bytes") == 0
    assert after("flowcore_event_loop_stalls_total") == 0
    if sys.platform == "linux":
        assert (after("process_resident_memory_bytes") or 0) > 1e6
        assert (after("process_open_fds") or 0) > 3


async def test_what_waits_for_a_slow_reader_is_shown(serve, client_of, post):
    class FloodOp(BaseAsyncOp):
        async def async_execute(self):
            while True:
                await self.context.add_stream_chunk(FlowStreamChunk(chunk="x" * 100_000))

    async with serve({"flood": "FloodOp()"}, FloodOp) as server, client_of(server) as client:
        async with await server.connect() as connection:
            await connection.send(post("/flood"))
            reading = await read_until(
                client, lambda now: (now("flowcore_queue_bytes") or 0) > 1_000_000
            )
            await anyio.sleep(0.1)
        # A run that has ended may still be known for a moment.
        after = await read_until(
            client,
            lambda now: (
                now("flowcore_runs_running", flow="flood") == now("flowcore_queue_bytes") == 0
            ),
        )

    assert (reading("flowcore_queue_bytes") or 0) < 2_000_000
    assert (after("flowcore_run_blocked_seconds_total", flow="flood") or 0) > 0.05


async def test_two_servers_in_one_process_count_apart(serve, client_of):
    async with (
        serve({"greet": "GreetOp()"}, GreetOp) as one,
        serve({"greet": "GreetOp()"}, GreetOp) as two,
        client_of(one) as client_one,
        client_of(two) as client_two,
    ):
        await client_one.post("/greet", json={})

        assert (await read(client_one))("flowcore_runs_started_total", flow="greet") == 1
        assert (await read(client_two))("flowcore_runs_started_total", flow="greet") == 0


async def test_a_name_that_needs_escaping_is_escaped(serve, client_of):
    async with serve({"a.b-c": "GreetOp()"}, GreetOp) as server, client_of(server) as client:
        await client.post("/a.b-c", json={})

        assert (await read(client))("flowcore_runs_started_total", flow="a.b-c") == 1


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version="),
        ("text/html", "text/plain; version="),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version="),
        ("application/openmetrics-text; version=junk;q=x, \xff, ;;,=", ""),
        ("application/openmetrics-text; escaping=allow-utf-8" * 50, ""),
    ],
)
async def test_the_format_is_the_one_that_is_asked_for(serve, client_of, accept, content_type):
    async with serve({"greet": "GreetOp()"}, GreetOp) as server, client_of(server) as client:
        response = await client.get("/metrics", headers={"Accept": accept.encode("latin-1")})

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(content_type)
    assert "flowcore_runs_running" in response.text


async def test_metrics_can_be_turned_off(serve, client_of):
    async with (
        serve({"greet": "GreetOp()"}, GreetOp, metrics=False) as server,
        client_of(server) as client,
    ):
        assert (await client.post("/greet", json={})).status_code == 200
        assert (await client.get("/metrics")).status_code == 404
        assert (await client.get("/ready")).status_code == 200


def test_no_input_of_a_request_reaches_a_label():
    # Besides the names of flows and routes, all labels are from these sets.
    assert all(re.fullmatch("[a-z_]+", code) for code in CODES)
    assert len(CODES) < 64


def test_the_prometheus_client_is_loaded_by_nothing_but_a_server():
    code = (
        "import sys, flowcore, flowcore_http, flowcore.cli, flowcore_http.client\n"
        "print([name for name in sys.modules if name.startswith('prometheus')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "[]\n"


async def test_deadlines_and_ops_that_ignore_their_cancellation_are_counted(tmp_path: Path):
    deadlines = ("deadlines.first_chunk=0.3", "deadlines.cleanup=0.3")
    async with (
        observed(tmp_path, *deadlines, FLOWCORE_LOG_FORMAT="json") as service,
        httpx.AsyncClient(base_url=service.url, timeout=20) as client,
    ):
        response = await client.post("/stubborn", json={})
        after = await read(client)
        told = await service.record(lambda record: "ignores its cancel" in record["message"])

    assert told["run_id"] == response.headers["X-Run-Id"]
    failed = {"ending": "failed", "code": "first_chunk_timeout"}
    assert after("flowcore_runs_ended_total", flow="stubborn", **failed) == 1
    assert after("flowcore_runs_abandoned_total", flow="stubborn") == 1
    assert after("flowcore_runs_running", flow="stubborn") == 0
    assert after("flowcore_run_first_chunk_seconds_count", flow="stubborn") == 0


async def test_a_run_that_somebody_asked_to_cancel_is_counted_as_such(serve, client_of):
    async with serve({"wait": "WaitOp()"}, WaitOp) as server, client_of(server) as client:
        async with client.stream("POST", "/wait", json={}) as response:
            await client.post(f"/runs/{response.headers['X-Run-Id']}/cancel")
            await response.aread()
        after = await read(client)

    assert after("flowcore_runs_cancelled_total", flow="wait", reason="api") == 1
    assert (
        after("flowcore_http_requests_total", endpoint="/runs/<run_id>/cancel", status="2xx") == 1
    )


async def test_processes_that_share_a_folder_show_the_sum_of_all(tmp_path: Path):
    folder = tmp_path / "metrics"
    folder.mkdir()
    async with (
        observed(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(folder)) as one,
        observed(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(folder)) as two,
        httpx.AsyncClient(base_url=one.url) as client_one,
        httpx.AsyncClient(base_url=two.url) as client_two,
    ):
        async with client_two.stream("POST", "/wait", json={}) as response:
            texts = response.aiter_text()
            await anext(texts)
            for client in (client_one, client_two, client_two):
                await client.post("/greet", json={})
            during = await read_until(
                client_one,
                lambda now: (
                    now("flowcore_runs_running", flow="wait") == 1
                    and now("flowcore_http_open_connections") == 3
                ),
            )
        two.process.kill()
        await two.process.wait()
        # As whoever manages the processes does.
        mark_process_dead(two.process.pid, str(folder))  # pyright: ignore[reportUnknownMemberType]
        after = await read(client_one)

    assert during("flowcore_runs_started_total", flow="greet") == 3
    assert during("flowcore_runs_ended_total", flow="greet", ending="done", code="") == 3
    assert during("flowcore_run_duration_seconds_count", flow="greet") == 3
    assert during("flowcore_http_open_requests") == 2
    assert (during("flowcore_event_loop_lag_seconds_count") or 0) > 0
    assert after("flowcore_runs_running", flow="wait") == 0
    assert after("flowcore_runs_started_total", flow="greet") == 3
