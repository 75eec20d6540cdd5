"""The service as a process: its start, its signals and its end."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.abc
import httpx
import pytest
from anyio.streams.text import TextReceiveStream

from flowcore import ConfigError
from flowcore_http import HttpService, HttpSettings
from tests.servers import SERVER

OPS = """
import gc, sys, time
import anyio
from flowcore import BaseAsyncOp, BaseOp, C, FlowStreamChunk

def say(text):
    print(text, file=sys.stderr, flush=True)

@C.register_op()
class TickOp(BaseAsyncOp):
    count: int = 10
    async def async_execute(self):
        try:
            for number in range(self.count):
                await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"{number} "))
                await anyio.sleep(0.1)
        finally:
            say("tick ended")

@C.register_op()
class FloodOp(BaseAsyncOp):
    async def async_execute(self):
        try:
            while True:
                await self.context.add_stream_chunk(FlowStreamChunk(chunk="x" * 10_000))
        finally:
            say("flood ended")

@C.register_op()
class CarefulOp(BaseAsyncOp):
    async def async_execute(self):
        try:
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(4.5)
                say("careful ended")

@C.register_op()
class GarbageOp(BaseAsyncOp):
    async def async_execute(self):
        self.context.response.answer = [*gc.get_threshold()[:2], gc.get_freeze_count()]

@C.register_op()
class StubbornOp(BaseOp):
    def execute(self):
        say("stubborn started")
        time.sleep(60)
"""
START = "from flowcore import FlowApp; app = FlowApp('c.yaml'); app.service().run(app)"


class Process:
    """A running service."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process
        self.url = ""
        self.log = ""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    async def exit_code(self, within: float) -> int:
        with anyio.fail_after(within):
            return await self._process.wait()

    async def logged(self, pattern: str) -> re.Match[str]:
        """Wait until a pattern stands in what the process wrote."""
        with anyio.fail_after(20):
            while not (found := re.search(pattern, self.log)):
                await anyio.sleep(0.01)
        return found


SLOW_TO_OPEN = """
import contextlib, sys
import anyio
from flowcore import hookimpl

@contextlib.asynccontextmanager
async def wait():
    print("opening", file=sys.stderr, flush=True)
    try:
        await anyio.sleep_forever()
        yield
    finally:
        print("opening ended", file=sys.stderr, flush=True)

@hookimpl
def flowcore_lifespan():
    return wait()
"""


@asynccontextmanager
async def started(folder: Path, ops: str = OPS, **http: object) -> AsyncGenerator[Process, None]:
    async with launched(folder, ops, http) as process:
        process.url = (await process.logged(r"serving at (http://\S+)"))[1]
        yield process


@asynccontextmanager
async def launched(
    folder: Path, source: str, http: Mapping[str, object]
) -> AsyncGenerator[Process, None]:
    (folder / "service_ops.py").write_text(source, encoding="utf-8")
    settings = {"port": 0, "server": SERVER, **http}
    (folder / "c.yaml").write_text(
        textwrap.dedent(f"""
            imports: [service_ops]
            http: {settings}
            flow:
              tick: {{flow_content: TickOp(), stream: true}}
              long: {{flow_content: TickOp(count=600), stream: true}}
              flood: {{flow_content: FloodOp(), stream: true}}
              stubborn: {{flow_content: StubbornOp()}}
              careful: {{flow_content: CarefulOp(), stream: true}}
              garbage: {{flow_content: GarbageOp()}}
        """),
        encoding="utf-8",
    )
    async with (
        await anyio.open_process([sys.executable, "-c", START], cwd=folder) as child,
        anyio.create_task_group() as tasks,
    ):
        process = Process(child)

        async def read_log() -> None:
            assert child.stderr is not None
            async for text in TextReceiveStream(child.stderr):
                process.log += text

        tasks.start_soon(read_log)
        try:
            yield process
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()
            tasks.cancel_scope.cancel()


async def test_it_tells_where_it_serves_what(tmp_path):
    async with started(tmp_path) as process, httpx.AsyncClient() as client:
        assert re.search(
            r"flows: tick, long, flood, stubborn, careful, garbage$", process.log, re.MULTILINE
        )
        assert (await client.get(f"{process.url}/health")).json() == {"status": "healthy"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_streams_finish_and_the_exit_code_is_0(tmp_path, number):
    async with started(tmp_path) as process, httpx.AsyncClient() as client:
        async with client.stream("POST", f"{process.url}/tick", json={}) as response:
            body = b""
            async for data in response.aiter_bytes():
                if not body:
                    process.signal(number)
                body += data

        assert body.count(b'"answer"') == 10
        assert body.endswith(b"data:[DONE]\n\n")
        assert await process.exit_code(within=15) == 0
        assert "Traceback" not in process.log


@pytest.mark.parametrize(
    ("before", "then"),
    [
        ("", (5_000, 100)),
        ("gc.disable()", (5_000, 100)),
        ("gc.set_threshold(77_000, 7)", (77_000, 7)),
        ("gc.set_threshold(0, 7)", (0, 7)),
    ],
)
async def test_the_garbage_collector_is_called_less_often_unless_somebody_has_set_more(
    tmp_path, before, then
):
    async with started(tmp_path, ops=f"{OPS}\n{before}") as process, httpx.AsyncClient() as client:
        answer = (await client.post(f"{process.url}/garbage", json={})).json()["answer"]

    *threshold, frozen = answer
    assert tuple(threshold) == then
    assert frozen > 10_000


async def test_an_idle_service_stops_at_once_also_with_open_connections(tmp_path):
    async with (
        started(tmp_path, keep_alive_timeout=60) as process,
        httpx.AsyncClient() as client,
    ):
        await client.get(f"{process.url}/health")
        async with await anyio.connect_tcp("127.0.0.1", process.port):
            process.signal()

            assert await process.exit_code(within=15) == 0


async def test_new_requests_get_503_while_the_service_drains(tmp_path):
    async with started(tmp_path) as process, httpx.AsyncClient() as client:
        async with client.stream("POST", f"{process.url}/long", json={}) as response:
            parts = response.aiter_bytes()
            await anext(parts)
            process.signal()
            refused = await client.get(f"{process.url}/health")
            with anyio.fail_after(20):
                while refused.status_code != 503:
                    refused = await client.get(f"{process.url}/health")

        assert refused.json()["code"] == "stopping"
        assert refused.headers["Connection"] == "close"


@pytest.mark.parametrize("flow", ["long", "careful"])
async def test_runs_that_outlast_the_drain_fail_and_end_before_the_process(tmp_path, flow):
    client = httpx.AsyncClient(timeout=20)
    async with started(tmp_path, drain_timeout=0.5) as process, client:
        async with client.stream("POST", f"{process.url}/{flow}", json={}) as response:
            body = b""
            async for data in response.aiter_bytes():
                if not body:
                    process.signal()
                body += data

        *_, last, done = (line[5:] for line in body.split(b"\n") if line.startswith(b"data:"))
        assert json.loads(last)["metadata"]["code"] == "shutting_down"
        assert done == b"[DONE]"
        assert await process.exit_code(within=15) == 0
        await process.logged("(tick|careful) ended")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_signal_ends_a_process_whose_plugin_is_still_opening(tmp_path, number):
    async with launched(tmp_path, OPS + SLOW_TO_OPEN, {}) as process:
        await process.logged("opening\n")
        process.signal(number)

        assert await process.exit_code(within=15) in {0, 128 + number}
        await process.logged("opening ended")
        assert "Traceback" not in process.log
        assert "serving at" not in process.log


async def test_a_second_signal_ends_all_at_once(tmp_path):
    async with started(tmp_path) as process, httpx.AsyncClient() as client:
        async with client.stream("POST", f"{process.url}/long", json={}) as response:
            parts = response.aiter_bytes()
            await anext(parts)
            process.signal()
            await process.logged("stopping: ")
            await anyio.sleep(0.3)
            process.signal()

            assert await process.exit_code(within=15) == 130
        await process.logged("tick ended")


async def test_a_second_signal_ends_also_a_thread_that_hangs(tmp_path):
    async def call(url: str) -> None:
        async with httpx.AsyncClient(timeout=30) as client:
            with suppress(httpx.TransportError):
                await client.post(f"{url}/stubborn", json={})

    async with started(tmp_path) as process, anyio.create_task_group() as tasks:
        tasks.start_soon(call, process.url)
        await process.logged("stubborn started")
        process.signal(signal.SIGINT)
        await process.logged("stopping: ")
        await anyio.sleep(0.3)
        process.signal(signal.SIGINT)

        assert await process.exit_code(within=15) == 130


async def test_an_echo_of_the_first_signal_is_not_a_second_one(tmp_path):
    async with started(tmp_path) as process, httpx.AsyncClient() as client:
        async with client.stream("POST", f"{process.url}/tick", json={}) as response:
            body = b""
            async for data in response.aiter_bytes():
                if not body:
                    # It sees both at the same time, however busy the machine is.
                    process.signal(signal.SIGSTOP)
                    process.signal()
                    process.signal(signal.SIGINT)
                    process.signal(signal.SIGCONT)
                body += data

        assert body.endswith(b"data:[DONE]\n\n")
        assert await process.exit_code(within=15) == 0


async def test_a_reader_that_stalls_does_not_hold_up_the_end(tmp_path):
    async with started(tmp_path, drain_timeout=0.3) as process:
        async with await anyio.connect_tcp("127.0.0.1", process.port) as connection:
            await connection.send(
                b"POST /flood HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                b"Content-Length: 2\r\n\r\n{}"
            )
            await connection.receive()
            process.signal()

            assert await process.exit_code(within=15) == 0
        await process.logged("flood ended")


if sys.platform == "linux":

    async def test_a_reader_that_stalls_is_disconnected_after_the_write_timeout(tmp_path):
        async with started(tmp_path, write_timeout=1, heartbeat=60) as process:
            async with await anyio.connect_tcp("127.0.0.1", process.port) as connection:
                raw = connection.extra(anyio.abc.SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await connection.send(
                    b"POST /flood HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                    b"Content-Length: 2\r\n\r\n{}"
                )
                await process.logged("flood ended")
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"{process.url}/health")).status_code == 200

        assert "Traceback" not in process.log


@pytest.mark.parametrize("uvloop", [True, False])
async def test_it_runs_with_and_without_uvloop(tmp_path, uvloop):
    if not uvloop:
        (tmp_path / "uvloop.py").write_text("raise ImportError('not here')", encoding="utf-8")
    async with started(tmp_path) as process, httpx.AsyncClient() as client:
        body = (await client.post(f"{process.url}/tick", json={})).content
        process.signal()

        assert body.endswith(b"data:[DONE]\n\n")
        assert await process.exit_code(within=15) == 0


def test_a_port_in_use_is_a_config_error_of_one_line(make_app):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port}: .*in use; stop the other") as caught:
            HttpService(HttpSettings(port=port)).run(make_app({}))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "not a host", "x" * 300])
def test_a_host_that_is_not_here_is_a_config_error_of_one_line(make_app, host):
    with pytest.raises(ConfigError, match="host") as caught:
        HttpService(HttpSettings(host=host, port=0)).run(make_app({}))

    assert "\n" not in str(caught.value)


def test_a_certificate_that_cannot_be_read_is_a_config_error(make_app, tmp_path):
    settings = HttpSettings(port=0, certfile=tmp_path / "no.pem", keyfile=tmp_path / "no.key")
    with pytest.raises(ConfigError, match="certfile"):
        HttpService(settings).run(make_app({}))


def test_a_certificate_needs_its_key(tmp_path):
    with pytest.raises(ValueError, match="belong together"):
        HttpSettings(certfile=tmp_path / "c.pem")


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        (key, wrong)
        for key in ("heartbeat", "body_timeout", "drain_timeout", "write_timeout")
        for wrong in (float("inf"), float("nan"), 1e300, -1, "x")
    ]
    + [("heartbeat", 1e-300), ("write_timeout", 1e-9), ("heartbeat", 0), ("body_timeout", 0)]
    + [("write_timeout", 0), ("backlog", 0), ("backlog", 65_536), ("backlog", 99_999_999_999)]
    + [("port", -1), ("port", 65_536), ("max_body_bytes", 0)],
)
def test_a_number_that_the_kernel_or_a_clock_cannot_take_is_refused(key, wrong):
    with pytest.raises(ValueError, match=key):
        HttpSettings.model_validate({key: wrong})


def test_the_bounds_themselves_are_taken():
    low = HttpSettings(port=0, heartbeat=0.001, write_timeout=0.001, backlog=1, drain_timeout=0)
    high = HttpSettings(
        port=65_535, heartbeat=86_400, write_timeout=86_400, backlog=65_535, drain_timeout=86_400
    )

    assert low.backlog < high.backlog


async def test_an_ipv6_address_is_served_and_told_in_brackets(tmp_path):
    async with started(tmp_path, host="::1") as process, httpx.AsyncClient() as client:
        assert process.url.startswith("http://[::1]:")
        assert (await client.get(f"{process.url}/health")).status_code == 200
