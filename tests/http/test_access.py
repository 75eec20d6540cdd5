"""The access log: one record for each request, which tells all and shows no secret."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from flowcore import BaseAsyncOp, FlowStreamChunk
from tests.ports import reserved_port

from .observed import observed

CANARY = "sk-canary-5f0c21"


class GreetOp(BaseAsyncOp):
    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="hello"))


class WaitOp(BaseAsyncOp):
    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="hello"))
        await anyio.sleep_forever()


@pytest.fixture
def accesses(caplog: pytest.LogCaptureFixture) -> Callable[..., Any]:
    """Return a function that waits for a number of records of the access log."""
    caplog.set_level(logging.INFO, logger="flowcore.http.access")

    async def wait(count: int) -> list[Any]:
        with anyio.fail_after(5):
            while True:
                found = [r for r in caplog.records if r.name == "flowcore.http.access"]
                if len(found) >= count:
                    return found
                await anyio.sleep(0.01)

    return wait


async def test_a_request_is_one_record_with_all_that_is_known_of_it(serve, accesses):
    async with (
        serve({"greet": "GreetOp()"}, GreetOp) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        response = await client.post("/greet", json={})
        (record,) = await accesses(1)

    assert record.levelno == logging.INFO
    assert (record.method, record.path, record.status) == ("POST", "/greet", 200)
    assert record.bytes == len(response.content)
    assert 0 <= record.duration < 5
    assert record.complete
    assert record.run_id == response.headers["X-Run-Id"]
    assert record.flow == "greet"
    assert re.fullmatch(r"POST /greet 200, \d+ bytes in \d\.\d{3} s", record.getMessage())


async def test_a_request_about_a_run_names_it(serve, accesses):
    async with (
        serve({"greet": "GreetOp()"}, GreetOp) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        run_id = (await client.post("/greet", json={})).headers["X-Run-Id"]
        await client.get(f"/runs/{run_id}/events")
        _, record = await accesses(2)

    assert (record.path, record.run_id) == (f"/runs/{run_id}/events", run_id)


async def test_a_stream_that_was_cut_is_told_as_such(serve, accesses):
    async with (
        serve({"wait": "WaitOp()"}, WaitOp) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        async with client.stream("POST", "/wait", json={}) as response:
            texts = response.aiter_text()
            await anext(texts)
        (record,) = await accesses(1)

    assert not record.complete
    assert record.status == 200
    assert record.getMessage().endswith(", cut")


async def test_a_request_that_starts_no_run_is_a_record_without_one(serve, accesses):
    async with (
        serve({"greet": "GreetOp()"}, GreetOp) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        await client.post("/gret", json={})
        (record,) = await accesses(1)

    assert record.status == 404
    assert not hasattr(record, "run_id")


async def test_the_name_of_the_key_is_logged_and_never_the_key(serve, accesses, caplog):
    keys = {"shop": f"{CANARY}-which-is-long-enough"}
    async with (
        serve({"greet": "GreetOp()"}, GreetOp, api_keys=keys) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        for key in (keys["shop"], f"{CANARY}-wrong"):
            await client.post("/greet", json={}, headers={"Authorization": f"Bearer {key}"})
        known, unknown = await accesses(2)
        refused = await client.get("/metrics")
        shown = await client.get("/metrics", headers={"Authorization": f"Bearer {keys['shop']}"})

    assert (known.status, known.caller) == (200, "shop")
    assert known.getMessage().endswith(", key 'shop'")
    assert unknown.status == 401
    assert not hasattr(unknown, "caller")
    assert not [record for record in caplog.records if CANARY in str(vars(record))]
    assert (refused.status_code, shown.status_code) == (401, 200)
    assert CANARY not in shown.text


async def test_a_request_that_never_reaches_the_app_is_told_of_as_well(serve, accesses):
    async with serve({"greet": "GreetOp()"}, GreetOp) as server:
        await server.exchange(b"GET /forged\x1b[31m HTTP/1.1\r\nHost: localhost\r\n\r\n")
        (record,) = await accesses(1)
        async with httpx.AsyncClient(base_url=server.url) as client:
            metrics = (await client.get("/metrics")).text

    assert record.getMessage() == "a request was refused: 400 bad_request"
    assert (record.status, record.code) == (400, "bad_request")
    assert 'flowcore_http_requests_total{endpoint="other",status="4xx"} 1.0' in metrics


async def test_no_path_can_end_a_line_or_fill_the_log(serve, accesses):
    paths = [b"/a%0d%0a127.0.0.1%20FAKE%1b[31m", b"/" + b"x" * 5000, b"/%e2%80%a8%00", b"//a"]
    async with serve({"greet": "GreetOp()"}, GreetOp) as server:
        for path in paths:
            await server.exchange(
                b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path
            )
        records = await accesses(len(paths))

    assert records[0].path == "/a%0d%0a127.0.0.1%20FAKE%1b[31m"
    assert all(record.getMessage().isprintable() for record in records)
    assert all(len(record.getMessage()) < 300 for record in records)


async def test_no_key_is_logged_from_wherever_it_is_sent(serve, accesses, caplog):
    caplog.set_level(logging.DEBUG)
    async with (
        serve({"greet": "GreetOp()"}, GreetOp) as server,
        httpx.AsyncClient() as client,
    ):
        # The test's own client logs its URLs.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        logging.getLogger("httpcore").setLevel(logging.WARNING)
        await client.post(
            f"{server.url}/greet?api_key={CANARY}",
            json={"api_key": CANARY},
            headers={"Authorization": f"Bearer {CANARY}", "Cookie": f"key={CANARY}"},
        )
        await accesses(1)
        metrics = (await client.get(f"{server.url}/metrics")).text

    assert not [record for record in caplog.records if CANARY in str(vars(record))]
    assert CANARY not in metrics


async def test_a_level_above_info_turns_the_access_log_off(serve, caplog):
    async with (
        serve({"greet": "GreetOp()"}, GreetOp) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        await client.get("/health")
        await server.exchange(post_health())

    assert not [r for r in caplog.records if r.name == "flowcore.http.access"]


def post_health() -> bytes:
    return b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


# --- as a process


async def test_the_log_in_json_joins_requests_runs_and_error_ids(tmp_path: Path):
    async with observed(tmp_path, FLOWCORE_LOG_LEVEL="info", FLOWCORE_LOG_FORMAT="json") as service:
        async with httpx.AsyncClient(base_url=service.url) as client:
            response = await client.post("/fail", json={})
        failure = await service.record(lambda record: "error_id" in record)
        access = await service.record(lambda record: record["logger"] == "flowcore.http.access")
        code = await service.exit_code()

    run_id = response.headers["X-Run-Id"]
    assert f'"error_id":"{failure["error_id"]}"' in response.text.replace(" ", "")
    assert (failure["run_id"], failure["flow"], failure["level"]) == (run_id, "fail", "ERROR")
    assert (access["run_id"], access["status"], access["level"]) == (run_id, 200, "INFO")
    assert "broken\nin two" in failure["exc_info"]
    assert code == 0


def closed_pipe() -> int:
    out, inside = os.pipe()
    os.close(out)
    return inside


def full_disk() -> int:
    return os.open("/dev/full" if Path("/dev/full").exists() else os.devnull, os.O_WRONLY)


@pytest.mark.parametrize("destination", [closed_pipe, full_disk])
@pytest.mark.parametrize("kind", ["text", "json"])
async def test_the_service_goes_on_when_its_log_cannot_be_written(
    tmp_path: Path, kind: str, destination: Callable[[], int]
):
    with reserved_port() as port, os.fdopen(destination(), "wb") as stderr:
        variables = {"FLOWCORE_LOG_LEVEL": "debug", "FLOWCORE_LOG_FORMAT": kind}
        async with observed(
            tmp_path, f"http.port={port}", stderr=stderr.fileno(), **variables
        ) as service:
            await check(port)
            assert await service.exit_code() == 0


async def test_a_log_that_nobody_reads_holds_up_neither_the_service_nor_its_end(tmp_path: Path):
    out, inside = os.pipe()
    code: int | None = None
    with reserved_port() as port, os.fdopen(out, "rb"), os.fdopen(inside, "wb") as stderr:
        async with (
            observed(
                tmp_path, f"http.port={port}", stderr=stderr.fileno(), FLOWCORE_LOG_LEVEL="debug"
            ) as service,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
            anyio.create_task_group() as tasks,
        ):
            await check(port)
            while stderr in select.select([], [stderr], [], 0)[1]:
                await client.post("/fail", json={})
            await check(port)
            tasks.start_soon(hang, client)
            with anyio.fail_after(20):
                while 'runs_running{flow="hang"} 1.0' not in (await client.get("/metrics")).text:
                    await anyio.sleep(0.02)
                service.process.send_signal(signal.SIGTERM)
                while (await client.get("/ready")).is_success:
                    await anyio.sleep(0.02)
                await anyio.sleep(0.3)
                service.process.send_signal(signal.SIGTERM)
                code = await service.process.wait()

    assert code == 130


async def hang(client: httpx.AsyncClient) -> None:
    with suppress(httpx.HTTPError):
        await client.post("/hang", json={})


async def check(port: int) -> None:
    """Expect that a service comes up and works."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        with anyio.fail_after(20):
            while True:
                try:
                    await client.get("/health")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
        for _ in range(20):
            response = await client.post("/greet", json={})
            assert "hello" in response.text
            assert response.text.endswith("data:[DONE]\n\n")
            assert "data:[DONE]" in (await client.post("/fail", json={})).text
