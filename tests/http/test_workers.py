"""Several processes: their start, their signals, their deaths and their end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest
from anyio.streams.text import TextReceiveStream

from flowcore import ConfigError
from flowcore_http import HttpService, HttpSettings
from tests.servers import SERVER

if sys.platform == "win32":
    pytest.skip("there is one process on Windows", allow_module_level=True)

FLOWCORE = str(Path(sys.executable).with_name("flowcore"))

KEY = {"Authorization": f"Bearer {'a' * 32}"}

OPS = """
import os, pathlib, sys, threading, time
import anyio
from flowcore import BaseAsyncOp, C, FlowStreamChunk

def say(text):
    sys.stderr.write(f"{text}\\n")  # at once, or lines of two processes mix

os.register_at_fork(before=lambda: say(f"fork with {threading.active_count()} thread"))

@C.register_op()
class TickOp(BaseAsyncOp):
    count: int = 10
    async def async_execute(self):
        try:
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=str(os.getpid())))
            for number in range(self.count):
                await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"{number} "))
                await anyio.sleep(0.1)
        finally:
            say(f"tick ended in {os.getpid()}")

@C.register_op()
class FloodOp(BaseAsyncOp):
    async def async_execute(self):
        try:
            while True:
                await self.context.add_stream_chunk(FlowStreamChunk(chunk="x" * 10_000))
        finally:
            say("flood ended")

@C.register_op()
class BlockOp(BaseAsyncOp):
    async def async_execute(self):
        say("blocked")
        time.sleep(60)

@C.register_op()
class KillOp(BaseAsyncOp):
    async def async_execute(self):
        os._exit(9)
"""
LIFESPAN = """
from contextlib import asynccontextmanager
from flowcore import hookimpl

@hookimpl
def flowcore_lifespan():
    return lifespan()

@asynccontextmanager
async def lifespan():
    {body}
    yield
"""


class Service:
    """A running service of several processes."""

    def __init__(self, process: anyio.abc.Process, folder: Path) -> None:
        self._process = process
        self.folder = folder
        self.url = ""
        self.log = ""
        self.log_ended = False
        self.opened: Counter[str] = Counter()
        """How many streams of each flow were opened, also those in a process that was not meant."""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to the master."""
        self._process.send_signal(number)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to all processes, as a terminal does."""
        os.killpg(self.pid, number)

    async def exit_code(self, within: float) -> int:
        with anyio.fail_after(within):
            return await self._process.wait()

    async def logged(self, pattern: str) -> re.Match[str]:
        """Wait until a pattern stands in what the processes wrote."""
        deadline = time.monotonic() + 20
        while not (found := re.search(pattern, self.log, re.MULTILINE)):
            if self.log_ended or time.monotonic() > deadline:
                pytest.fail(f"{pattern!r} is not in the log:\n{self.log}")
            await anyio.sleep(0.01)
        return found

    async def workers(self, count: int, *without: int) -> set[int]:
        """Wait until so many workers answer, none of the given ones among them."""
        found: set[int] = set()
        with anyio.fail_after(20):
            while len(found) < count:
                with suppress(httpx.TransportError):
                    async with self.tick("pid") as stream:
                        found.add(stream.worker)
                found -= {*without}
        return found

    @asynccontextmanager
    async def tick(self, flow: str, worker: int | None = None) -> AsyncGenerator[Stream]:
        """Open a stream, in the given worker."""
        with anyio.fail_after(20):
            while True:
                async with (
                    httpx.AsyncClient(timeout=20) as client,
                    client.stream("POST", f"{self.url}/{flow}", json={}, headers=KEY) as response,
                ):
                    stream = Stream(response)
                    await stream.begin()
                    self.opened[flow] += 1
                    if worker in {None, stream.worker}:
                        yield stream
                        return


class Stream:
    """A stream of TickOp."""

    def __init__(self, response: httpx.Response) -> None:
        self.run: str = response.headers["X-Run-Id"]
        self.worker = 0
        self.body = b""
        self._parts = response.aiter_raw()

    async def begin(self) -> None:
        while not (found := re.search(rb'"chunk": ?"(\d+)"', self.body)):
            self.body += await anext(self._parts)
        self.worker = int(found[1])

    async def rest(self) -> bytes:
        """Return the whole stream, read to its end."""
        async for part in self._parts:
            self.body += part
        return self.body

    def events(self) -> AsyncIterator[bytes]:
        return self._parts


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    # The path of a socket may not be long, and that of pytest's folder may be.
    with tempfile.TemporaryDirectory(prefix="flowcore-") as folder:
        yield Path(folder)


@asynccontextmanager
async def launched(
    folder: Path,
    source: str = OPS,
    *,
    workers: int = 2,
    temporary: Path | None = None,
    **http: Any,
) -> AsyncGenerator[Service, None]:
    (folder / "workers_ops.py").write_text(source, encoding="utf-8")
    flows = {
        "pid": "TickOp(count=0)",
        "tick": "TickOp(count=15)",
        "slow": "TickOp(count=40)",
        "long": "TickOp(count=600)",
        "flood": "FloodOp()",
        "block": "BlockOp()",
        "kill": "KillOp()",
    }
    config = {
        "imports": ["workers_ops"],
        "http": {"port": 0, "server": SERVER, "workers": workers, **http},
        "flow": {
            name: {"flow_content": content, "stream": True} for name, content in flows.items()
        },
    }
    (folder / "c.yaml").write_text(json.dumps(config), encoding="utf-8")
    temporary = temporary or folder / "tmp"
    temporary.mkdir(exist_ok=True)
    async with (
        await anyio.open_process(
            [FLOWCORE, "config=c"],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(temporary)},
            start_new_session=True,
        ) as child,
        anyio.create_task_group() as tasks,
    ):
        service = Service(child, temporary)

        async def read_log() -> None:
            assert child.stderr is not None
            async for text in TextReceiveStream(child.stderr):
                service.log += text
            service.log_ended = True

        tasks.start_soon(read_log)
        try:
            yield service
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def started(folder: Path, source: str = OPS, **http: Any) -> AsyncGenerator[Service, None]:
    async with launched(folder, source, **http) as service:
        service.url = (await service.logged(r"serving at (http://\S+)"))[1]
        yield service


def assert_finished(body: bytes) -> None:
    assert body.endswith(b"data:[DONE]\n\n")
    assert b'"error"' not in body


# --- the start ---


async def test_all_workers_serve_and_it_is_announced_once(tmp_path):
    async with started(tmp_path, workers=3) as service:
        workers = await service.workers(3)

        assert service.pid not in workers
        assert service.log.count("serving at") == 1


async def test_each_worker_opens_the_app_after_the_fork_and_no_thread_is_forked(tmp_path):
    body = "say(f'open in {os.getpid()}')"
    async with started(tmp_path, OPS + LIFESPAN.format(body=body)) as service:
        workers = await service.workers(2)

        opened = re.findall(r"^open in (\d+)$", service.log, re.MULTILINE)
        assert {int(pid) for pid in opened} == workers
        assert len(opened) == 2
        assert (
            re.findall(r"^fork with .*$", service.log, re.MULTILINE) == ["fork with 1 thread"] * 2
        )


async def test_the_shared_folder_is_private_and_gone_after_the_end(tmp_path):
    async with started(tmp_path) as service:
        (folder,) = service.folder.iterdir()
        mode = folder.stat().st_mode & 0o777
        service.signal()
        code = await service.exit_code(within=15)

    assert code == 0
    assert mode == 0o700
    assert list(service.folder.iterdir()) == []


async def test_a_port_in_use_is_told_once_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with launched(tmp_path, port=port) as service:
            code = await service.exit_code(within=20)
            await service.logged("in use")

    assert code == 2
    assert len(re.findall(rf"^Error: .*port {port}.*in use", service.log, re.MULTILINE)) == 1
    assert "Traceback" not in service.log
    assert list(service.folder.iterdir()) == []


async def test_a_failure_to_open_ends_the_service_and_is_told_once(tmp_path):
    body = "raise RuntimeError('no way in')"
    async with launched(tmp_path, OPS + LIFESPAN.format(body=body), workers=3) as service:
        code = await service.exit_code(within=20)
        await service.logged("Reason: worker . could not start")

    assert code == 1
    assert service.log.count("RuntimeError: no way in") == 1
    assert "serving at" not in service.log


async def test_a_config_error_on_opening_ends_with_the_exit_code_of_one(tmp_path):
    body = "from flowcore import ConfigError; raise ConfigError('a wrong key')"
    async with launched(tmp_path, OPS + LIFESPAN.format(body=body)) as service:
        code = await service.exit_code(within=20)
        await service.logged("could not start")

    assert code == 2
    assert re.findall(r"^Error: a wrong key$", service.log, re.MULTILINE) == ["Error: a wrong key"]
    assert "Traceback" not in service.log


def test_several_workers_without_gunicorn_are_a_config_error(make_app, monkeypatch):
    monkeypatch.setitem(sys.modules, "gunicorn", None)
    service = HttpService(HttpSettings(port=0, workers=2))
    for start in (service.check, service.run):
        with pytest.raises(ConfigError, match=r"flowcore-http\[workers\]"):
            start(make_app({}))


def test_several_workers_without_fork_are_a_config_error(make_app, monkeypatch):
    monkeypatch.delattr(os, "fork")
    with pytest.raises(ConfigError, match="cannot fork"):
        HttpService(HttpSettings(port=0, workers=2)).run(make_app({}))


async def test_a_thread_that_an_import_has_started_is_warned_of(tmp_path):
    source = f"{OPS}threading.Thread(target=time.sleep, args=[60], name='odd', daemon=True).start()"
    async with started(tmp_path, source) as service:
        await service.logged("the workers will not have them: odd$")


async def test_a_folder_with_too_long_a_path_for_sockets_is_not_used(tmp_path):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    async with started(tmp_path, temporary=folder) as service:
        await service.workers(2)
        service.signal()

        assert await service.exit_code(within=15) == 0
    assert list(folder.iterdir()) == []


async def test_workers_without_a_folder_for_temporary_files_are_a_config_error(
    make_app, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(ConfigError, match="set TMPDIR"):
        HttpService(HttpSettings(port=0, workers=2)).run(make_app({}))


@pytest.mark.parametrize("wrong", [0, -1, 1025, "many", 1.5])
def test_a_number_of_workers_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="workers"):
        HttpSettings.model_validate({"workers": wrong})


async def test_the_log_names_the_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWCORE_LOG_LEVEL", "INFO")
    async with started(tmp_path) as service:
        await service.workers(2)
        for number in (1, 2):
            await service.logged(rf"INFO flowcore\.http\.access \[worker {number}\]: POST /pid 200")


async def test_the_log_as_json_names_worker_and_process(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWCORE_LOG_LEVEL", "INFO")
    monkeypatch.setenv("FLOWCORE_LOG_FORMAT", "json")
    async with started(tmp_path) as service:
        workers = await service.workers(2)
        for number in (1, 2):
            await service.logged(rf'"worker": {number}\b')
        lines = [json.loads(line) for line in service.log.splitlines() if line.startswith("{")]

    seen = {(line["worker"], line["process"]) for line in lines if "worker" in line}
    assert {pid for _, pid in seen} == workers
    assert {number for number, _ in seen} == {1, 2}


# --- signals ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("to_all", [False, True])
async def test_a_signal_lets_the_streams_of_all_workers_finish(tmp_path, number, to_all):
    async with started(tmp_path) as service:
        one, other = await service.workers(2)
        async with service.tick("tick", one) as first, service.tick("tick", other) as second:
            service.signal_all(number) if to_all else service.signal(number)
            bodies = [await first.rest(), await second.rest()]

        for body in bodies:
            assert_finished(body)
        assert await service.exit_code(within=15) == 0
        assert "Traceback" not in service.log


async def test_new_requests_get_503_while_the_workers_drain(tmp_path):
    async with started(tmp_path) as service, httpx.AsyncClient() as client:
        one, other = await service.workers(2)
        async with service.tick("slow", one) as first, service.tick("slow", other) as second:
            service.signal()
            refused = await client.get(f"{service.url}/health")
            with anyio.fail_after(20):
                while refused.status_code != 503:
                    refused = await client.get(f"{service.url}/health")
            assert_finished(await first.rest())
            assert_finished(await second.rest())

        assert refused.json()["code"] == "stopping"


async def test_runs_that_outlast_the_drain_fail_and_end_before_the_processes(tmp_path):
    async with started(tmp_path, drain_timeout=0.5) as service:
        one, other = await service.workers(2)
        async with service.tick("long", one) as first, service.tick("long", other) as second:
            service.signal()
            bodies = [await first.rest(), await second.rest()]

        for body in bodies:
            *_, last, done = body.split(b"\n\n")[:-1]
            assert b'"shutting_down"' in last
            assert done.endswith(b"data:[DONE]")
        assert await service.exit_code(within=15) == 0
        for pid in (one, other):
            await service.logged(f"tick ended in {pid}")


async def test_a_second_signal_ends_all_at_once(tmp_path):
    async with started(tmp_path) as service:
        one, other = await service.workers(2)
        async with service.tick("long", one), service.tick("long", other):
            service.signal_all(signal.SIGINT)
            await service.logged(r"stopping: (.*\n)*.*stopping: ")
            await anyio.sleep(0.3)
            service.signal_all(signal.SIGINT)

            assert await service.exit_code(within=15) == 130
        for pid in (one, other):
            await service.logged(f"tick ended in {pid}")
            assert not is_alive(pid)
        assert list(service.folder.iterdir()) == []


async def test_a_second_signal_ends_also_a_worker_whose_event_loop_is_blocked(tmp_path):
    async with started(tmp_path) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(call_and_lose, f"{service.url}/block")
        await service.logged("blocked")
        service.signal()
        await anyio.sleep(1)
        service.signal()

        assert await service.exit_code(within=15) == 130


async def test_one_signal_ends_workers_whose_plugin_is_still_opening(tmp_path):
    body = """
    say("opening")
    try:
        await anyio.sleep_forever()
    finally:
        say("opening ended")
    """
    async with launched(tmp_path, OPS + LIFESPAN.format(body=body.strip())) as service:
        await service.logged(r"opening\n(.*\n)*opening\n")
        service.signal()

        assert await service.exit_code(within=15) == 0
        await service.logged("opening ended")
        assert "Traceback" not in service.log
        assert "serving at" not in service.log


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.1])
async def test_a_signal_soon_after_the_fork_is_not_lost(tmp_path, delay):
    async with launched(tmp_path) as service:
        await service.logged("fork with")
        await anyio.sleep(delay)
        service.signal()

        assert await service.exit_code(within=15) == 0
        assert "Traceback" not in service.log


async def test_a_reader_that_stalls_does_not_hold_up_the_end(tmp_path):
    async with started(tmp_path, drain_timeout=0.3) as service:
        async with await anyio.connect_tcp("127.0.0.1", service.port) as connection:
            await connection.send(
                b"POST /flood HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                b"Content-Length: 2\r\n\r\n{}"
            )
            await connection.receive()
            service.signal()

            assert await service.exit_code(within=15) == 0
        await service.logged("flood ended")


async def test_signals_that_would_reload_or_resize_do_nothing(tmp_path):
    async with started(tmp_path) as service:
        workers = await service.workers(2)
        one, other = workers
        async with service.tick("tick", one) as first, service.tick("tick", other) as second:
            for number in ("HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH"):
                service.signal(signal.Signals[f"SIG{number}"])
            for number in ("HUP", "USR1", "USR2", "WINCH"):
                service.signal_all(signal.Signals[f"SIG{number}"])
            assert_finished(await first.rest())
            assert_finished(await second.rest())

        await service.logged("SIGHUP: there is no reload")
        assert await service.workers(2) == workers
        service.signal()
        assert await service.exit_code(within=15) == 0


async def test_it_runs_without_uvloop(tmp_path):
    (tmp_path / "uvloop.py").write_text("raise ImportError('not here')", encoding="utf-8")
    async with started(tmp_path) as service:
        one, other = await service.workers(2)
        async with service.tick("slow", one) as stream, talking_to(service, other) as client:
            about = await client.get(f"/runs/{stream.run}")
            service.signal()
            assert_finished(await stream.rest())

        assert about.json()["state"] == "running"
        assert await service.exit_code(within=15) == 0
        assert "Traceback" not in service.log


# --- runs of other workers ---


@asynccontextmanager
async def talking_to(service: Service, worker: int) -> AsyncGenerator[httpx.AsyncClient]:
    """Return a client with one connection, which the given worker has accepted."""
    with anyio.fail_after(20):
        while True:
            async with httpx.AsyncClient(
                base_url=service.url, timeout=20, limits=httpx.Limits(max_connections=1)
            ) as client:
                answer = await client.post("/pid", json={}, headers=KEY)
                if f'"{worker}"' in answer.text:
                    yield client
                    return


async def test_a_run_is_described_and_cancelled_through_another_worker(tmp_path):
    async with started(tmp_path) as service:
        one, other = await service.workers(2)
        async with service.tick("long", one) as stream, talking_to(service, other) as client:
            about = await client.get(f"/runs/{stream.run}")
            cancelled = await client.post(f"/runs/{stream.run}/cancel")
            body = await stream.rest()

    assert about.status_code == cancelled.status_code == 200
    assert about.json()["state"] == "running"
    assert about.headers["X-Run-Id"] == stream.run
    assert body.endswith(b"data:[DONE]\n\n")
    assert b'"cancelled"' in body.split(b"\n\n")[-3]


async def test_the_events_of_a_run_are_read_through_another_worker(tmp_path):
    async with started(tmp_path) as service:
        one, other = await service.workers(2)
        async with service.tick("tick", one) as stream, talking_to(service, other) as client:
            running = (await client.get(f"/runs/{stream.run}/events")).content
            body = await stream.rest()
            after = {"Last-Event-ID": f"{stream.run}-3"}
            resumed = (await client.get(f"/runs/{stream.run}/events", headers=after)).content
            again = await client.post("/tick", json={}, headers=after)
            last = re.findall(rb"^id: ?(.*)$", body, re.MULTILINE)[-1].decode()
            at_end = await client.get(f"/runs/{stream.run}/events", headers={"Last-Event-ID": last})

    assert events_of(running) == events_of(body)
    assert events_of(resumed) == events_of(again.content) == events_of(body)[3:]
    assert again.headers["X-Run-Id"] == stream.run
    assert at_end.status_code == 204


async def test_a_run_that_no_worker_knows_or_whose_worker_has_died_is_unknown(tmp_path):
    async with started(tmp_path) as service:
        one, other = await service.workers(2)
        async with talking_to(service, other) as client:
            unknown = await client.get(f"/runs/{'0' * 32}")
            async with service.tick("long", one) as stream:
                os.kill(one, signal.SIGKILL)
                await service.logged("was killed by SIGKILL")
                lost = await client.get(f"/runs/{stream.run}")

    for answer in (unknown, lost):
        assert answer.status_code == 404
        assert answer.json()["code"] == "unknown_run"


async def test_only_the_key_that_started_a_run_sees_it_through_another_worker(tmp_path):
    keys = {"ann": KEY["Authorization"].removeprefix("Bearer "), "bob": "b" * 32}
    async with started(tmp_path, api_keys=keys) as service:
        one, other = await service.workers(2)
        async with service.tick("long", one) as stream, talking_to(service, other) as client:
            path = f"/runs/{stream.run}"
            seen = await client.get(path, headers=KEY)
            hidden = await client.get(path, headers={"Authorization": "Bearer " + "b" * 32})
            refused = await client.get(path)
            await client.post(f"{path}/cancel", headers=KEY)
            await stream.rest()

    assert seen.json()["state"] == "running"
    assert hidden.status_code == 404
    assert refused.status_code == 401


async def test_a_forwarded_request_is_counted_and_logged_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWCORE_LOG_LEVEL", "INFO")
    async with started(tmp_path) as service:
        one, other = await service.workers(2)
        async with service.tick("tick", one) as stream, talking_to(service, other) as client:
            headers = {"Origin": "https://example.com"}
            about = await client.get(f"/runs/{stream.run}", headers=headers)
            await stream.rest()
            await client.get("/health")  # its record comes after the other one
            await service.logged("GET /health 200")
            metrics = (await client.get("/metrics")).text

    assert about.headers.get_list("Access-Control-Allow-Origin") == ["*"]
    assert len(re.findall(rf"GET /runs/{stream.run} 200", service.log)) == 1
    assert re.search(r'http_requests_total{endpoint="/runs/<run_id>",status="2xx"} 1\.0', metrics)


@pytest.mark.parametrize("imported_before", [False, True])
async def test_metrics_are_those_of_all_workers_and_not_of_dead_ones(tmp_path, imported_before):
    source = f"{OPS}import prometheus_client\n" if imported_before else OPS
    async with (
        started(tmp_path, source) as service,
        httpx.AsyncClient(base_url=service.url) as client,
    ):
        one, other = await service.workers(2)
        async with service.tick("long", one), service.tick("long", other):
            started_runs = f'runs_started_total{{flow="long"}} {service.opened["long"]}.0'
            # Each process tells now and then, and streams of the wrong one may still be ending.
            await metrics_with(client, started_runs, 'runs_running{flow="long"} 2.0')
            os.kill(one, signal.SIGKILL)
            await service.logged("was killed by SIGKILL")
            await metrics_with(client, started_runs, 'runs_running{flow="long"} 1.0')


async def metrics_with(client: httpx.AsyncClient, *lines: str) -> None:
    """Wait until all of these stand in the metrics at once."""
    metrics = ""
    with anyio.move_on_after(20):
        while not all(line in metrics for line in lines):
            with suppress(httpx.TransportError):  # the process that was asked is the one that died
                metrics = (await client.get("/metrics")).text
        return
    pytest.fail(f"not all of {lines} are in the metrics:\n{metrics}")


def events_of(body: bytes) -> list[bytes]:
    """Return the data of a stream's events."""
    return re.findall(rb"^data:.*$", body, re.MULTILINE)


# --- deaths ---


async def test_a_worker_that_is_killed_takes_only_its_own_streams_along_and_is_replaced(tmp_path):
    async with started(tmp_path) as service:
        one, other = await service.workers(2)
        async with service.tick("long", one) as lost, service.tick("tick", other) as kept:
            os.kill(one, signal.SIGKILL)
            killed_at = time.monotonic()
            with pytest.raises(httpx.TransportError):
                await lost.rest()
            await service.workers(2, one)
            replaced_after = time.monotonic() - killed_at
            body = await kept.rest()

        assert b"[DONE]" not in lost.body
        assert_finished(body)
        assert replaced_after < 10
        await service.logged(rf"worker \d \(pid {one}\) was killed by SIGKILL")
        service.signal()
        assert await service.exit_code(within=15) == 0


async def test_a_worker_that_is_asked_to_end_refuses_nobody_and_is_replaced(tmp_path):
    async with started(tmp_path) as service:
        one, other = await service.workers(2)
        async with (
            service.tick("tick", one) as stream,
            kept_connection(service, one) as client,
        ):
            os.kill(one, signal.SIGTERM)
            await service.logged("no more connections are taken: finishing 1 request")
            answers = [await call_pid(service) for _ in range(10)]
            last = await client.post("/pid", json={})
            assert_finished(await stream.rest())

        assert answers == [(200, other)] * 10
        assert last.status_code == 200
        assert f'"{one}"' in last.text
        assert last.headers["Connection"] == "close"
        assert other in await service.workers(2, one)
        assert "again in" not in service.log


async def test_a_worker_that_is_asked_to_end_in_the_moment_of_its_fork_ends(tmp_path):
    source = f"""{OPS}
def ask_once():
    if pathlib.Path("again").exists():
        pathlib.Path("again").unlink()
        os.kill(os.getpid(), 15)
        say("asked")

os.register_at_fork(after_in_child=ask_once)
"""
    async with started(tmp_path, source) as service:
        one, _ = await service.workers(2)
        (tmp_path / "again").touch()
        os.kill(one, signal.SIGKILL)
        await service.logged("asked")
        await service.logged(r"worker \d \(pid \d+\) ended with exit code 0")
        await service.workers(2, one)
        service.signal()

        assert await service.exit_code(within=15) == 0


async def test_a_worker_that_was_asked_to_end_stops_with_the_service(tmp_path):
    async with started(tmp_path) as service:
        one, _ = await service.workers(2)
        async with service.tick("long", one) as stream:
            os.kill(one, signal.SIGTERM)
            await service.logged("no more connections are taken: finishing 1 request")
            service.signal()
            await service.logged(r"stopping: waiting up to \S+ s for 1 request")
            await anyio.sleep(0.3)
            service.signal()
            assert await service.exit_code(within=15) == 130
            with pytest.raises(httpx.TransportError):
                await stream.rest()


async def test_a_worker_that_dies_again_and_again_on_opening_ends_the_service(tmp_path):
    async with launched(tmp_path, OPS + LIFESPAN.format(body="os._exit(7)")) as service:
        code = await service.exit_code(within=40)
        await service.logged("Reason: worker . ended 6 times in a row")

    assert code == 7
    assert "serving at" not in service.log
    assert re.findall(r"worker 1 is started again in (\S+) s", service.log) in (
        ["0.5", "1", "2", "4"],
        ["0.5", "1", "2"],
    )


async def test_requests_that_kill_workers_do_not_end_the_service(tmp_path):
    async with started(tmp_path, workers=2) as service:
        deadline = time.monotonic() + 80
        while len(re.findall(r"worker 1 is started again in 4 s", service.log)) < 2:
            assert time.monotonic() < deadline, service.log
            with anyio.move_on_after(2):
                await call_and_lose(f"{service.url}/kill")
        await service.workers(2)
        service.signal()

        assert await service.exit_code(within=15) == 0


async def test_a_worker_that_cannot_open_again_is_tried_again_while_others_serve(tmp_path):
    body = "assert not pathlib.Path('broken').exists(), 'broken'"
    async with started(tmp_path, OPS + LIFESPAN.format(body=body)) as service:
        one, other = await service.workers(2)
        async with service.tick("long", other) as stream:
            (tmp_path / "broken").touch()
            os.kill(one, signal.SIGKILL)
            await service.logged("is started again in 1 s")
            assert await service.workers(1) == {other}
            (tmp_path / "broken").unlink()

            assert other in await service.workers(2, one)
            service.signal()
            await service.logged("stopping: ")
            await anyio.sleep(0.3)
            service.signal()
            assert await service.exit_code(within=15) == 130
            assert stream.worker == other


async def test_a_worker_whose_event_loop_is_blocked_for_too_long_is_replaced(tmp_path):
    async with started(tmp_path, worker_timeout=3) as service, anyio.create_task_group() as tasks:
        workers = await service.workers(2)
        tasks.start_soon(call_and_lose, f"{service.url}/block")
        await service.logged("blocked")
        await service.logged("was killed by SIGABRT")

        await service.logged(r"workers_ops\.py.*in async_execute")
        assert len(await service.workers(2) & workers) == 1


async def test_workers_end_when_the_master_was_killed(tmp_path):
    async with started(tmp_path) as service:
        workers = await service.workers(2)
        async with service.tick("tick") as stream:
            service.signal(signal.SIGKILL)
            assert_finished(await stream.rest())
        with anyio.fail_after(10):
            while any(is_alive(pid) for pid in workers):
                await anyio.sleep(0.05)

        assert list(service.folder.iterdir()) == []
        with socket.create_server(("127.0.0.1", service.port)):
            pass


@asynccontextmanager
async def kept_connection(service: Service, worker: int) -> AsyncGenerator[httpx.AsyncClient]:
    """Return a client with an open connection to the given worker."""
    with anyio.fail_after(20):
        while True:
            async with httpx.AsyncClient(base_url=service.url, headers=KEY, timeout=20) as client:
                response = await client.post("/pid", json={})
                if f'"{worker}"' in response.text:
                    yield client
                    return


async def call_pid(service: Service) -> tuple[int, int]:
    """Return the status of a call over a new connection, and the worker that answered."""
    async with httpx.AsyncClient(base_url=service.url, headers=KEY, timeout=20) as client:
        response = await client.post("/pid", json={})
        found = re.search(r'"chunk": ?"(\d+)"', response.text)
        return response.status_code, int(found[1]) if found else 0


async def call_and_lose(url: str) -> None:
    with suppress(httpx.TransportError):
        async with httpx.AsyncClient(timeout=30) as client:
            await client.post(url, json={})


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
