"""HTTP/2 is refused before anything of it is processed, so none of its faults can do harm."""

from __future__ import annotations

import json
import re
from contextlib import suppress

import anyio
import h2.config
import h2.connection
import h2.settings
import hypercorn.protocol.h2
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from flowcore import BaseAsyncOp, FlowStreamChunk
from tests.tools import find_tool

HEALTH = b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"


class CountOp(BaseAsyncOp):
    """Streams forty numbers in pieces of time, and counts its runs and its chunks."""

    runs = 0
    chunks = 0

    async def async_execute(self):
        type(self).runs += 1
        for number in range(40):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"{number} "))
            type(self).chunks += 1
            await anyio.sleep(0.01)


@pytest.fixture(autouse=True)
def no_http_2_object(monkeypatch):
    """Fail a test in which Hypercorn's HTTP/2 comes to life."""
    made: list[object] = []
    construct = hypercorn.protocol.h2.H2Protocol.__init__

    def watch(self, *args, **kwargs):
        made.append(self)
        construct(self, *args, **kwargs)

    monkeypatch.setattr(hypercorn.protocol.h2.H2Protocol, "__init__", watch)
    CountOp.runs = CountOp.chunks = 0
    yield
    assert made == []


@pytest.fixture
async def server(serve):
    async with serve({"count": "CountOp()"}, CountOp) as running:
        yield running


def client() -> h2.connection.H2Connection:
    """Return a client that does not check what it sends."""
    settings = h2.config.H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False
    )
    http2 = h2.connection.H2Connection(settings)
    http2.initiate_connection()
    return http2


def request(path: str = "/count", **fields: str) -> list[tuple[str, str]]:
    return [
        (":method", "POST"), (":scheme", "http"), (":authority", "t"), (":path", path),
        *fields.items(),
    ]  # fmt: skip


def a_request(http2: h2.connection.H2Connection) -> None:
    http2.send_headers(1, request(), end_stream=True)


def a_reader_that_will_stall(http2: h2.connection.H2Connection) -> None:
    http2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    http2.send_headers(1, request(), end_stream=True)


def an_upload_that_is_refused_early(http2: h2.connection.H2Connection) -> None:
    http2.send_headers(1, request("/nowhere"))
    for _ in range(8):
        http2.send_data(1, b"x" * 8000)


def a_path_beyond_ascii(http2: h2.connection.H2Connection) -> None:
    http2.send_headers(1, request("/caf\xe9"), end_stream=True)


def more_requests_than_a_connection_may_have(http2: h2.connection.H2Connection) -> None:
    for number in range(1100):
        http2.send_headers(2 * number + 1, request("/health"), end_stream=True)
        http2.reset_stream(2 * number + 1)


def a_connect_without_a_path(http2: h2.connection.H2Connection) -> None:
    http2.send_headers(1, [(":method", "CONNECT"), (":authority", "t")], end_stream=True)


def a_flood_of_pings(http2: h2.connection.H2Connection) -> None:
    for number in range(5000):
        http2.ping(number.to_bytes(8, "big"))


def a_flood_of_settings(http2: h2.connection.H2Connection) -> None:
    for number in range(5000):
        http2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: number})


def a_flood_of_continuations(_http2: h2.connection.H2Connection) -> bytes:
    headers = b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82"
    return headers + b"\x00\x00\x00\x09\x00\x00\x00\x00\x01" * 20_000


@pytest.mark.parametrize(
    "send",
    [
        a_request,
        a_reader_that_will_stall,
        an_upload_that_is_refused_early,
        a_path_beyond_ascii,
        more_requests_than_a_connection_may_have,
        a_connect_without_a_path,
        a_flood_of_pings,
        a_flood_of_settings,
        a_flood_of_continuations,
    ],
)
async def test_prior_knowledge_gets_a_505_and_the_others_notice_nothing(server, post, caplog, send):
    http2 = client()
    frames = send(http2)
    async with await server.connect() as other:
        await other.send(post("/count"))
        reader = BufferedByteReceiveStream(other)
        with anyio.fail_after(10):
            await reader.receive_until(b'"0 "', 100_000)
            answer = await exchange(server, http2.data_to_send() + (frames or b""))
            rest = await reader.receive_until(b"data:[DONE]\n\n", 100_000)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 505 ")
    assert b"connection: close" in head.lower()
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "http_version_not_supported"
    assert re.findall(rb'"chunk": ?"(\d+) "', rest) == [b"%d" % n for n in range(1, 40)]
    assert (CountOp.runs, CountOp.chunks) == (1, 40)
    assert caplog.records == []


async def exchange(server, data: bytes) -> bytes:
    """Send much, as far as the server takes it, and return what it sends."""
    answer = b""
    async with await server.connect() as connection, anyio.create_task_group() as tasks:

        async def send() -> None:
            with suppress(anyio.BrokenResourceError):
                await connection.send(data)

        tasks.start_soon(send)
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                answer += await connection.receive()
    return answer


@pytest.mark.parametrize("protocols", [b"h2c", b"H2C", b"h2c, websocket-next", b"h2"])
async def test_an_upgrade_to_http_2_is_ignored(server, protocols):
    http2 = h2.connection.H2Connection()
    settings = http2.initiate_upgrade_connection()
    assert settings is not None
    with anyio.fail_after(5):
        answer = await server.exchange(
            b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
            b"Upgrade: %s\r\nHTTP2-Settings: %s\r\n\r\n" % (protocols, settings)
        )

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'{"status":"healthy"}' in answer


async def test_an_upgrade_with_a_body_runs_the_flow_over_http_1(server, post):
    with anyio.fail_after(5):
        answer = await server.exchange(
            post("/count", b"{}", b"Connection: Upgrade, close", b"Upgrade: h2c")
        )

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"data:[DONE]\n\n" in answer


@pytest.mark.parametrize(
    ("option", "status"), [("--http2-prior-knowledge", "505"), ("--http2", "200")]
)
async def test_curl_that_prefers_http_2_gets_an_answer(server, option, status):
    if "HTTP2" not in await output_of(curl := find_tool("curl", package="curl"), "--version"):
        option, status = "--http1.1", "200"
    url = f"{server.url}/health"
    with anyio.fail_after(10):
        command = ("-s", "-o", "-", "-w", "%{http_code}", "--max-time", "5", option, url)
        said = await output_of(curl, *command)

    # The curl of prior knowledge reads nothing but HTTP/2; it must fail and not hang.
    assert status in said or (status == "505" and said.endswith("000"))


async def output_of(*command: str) -> str:
    return (await anyio.run_process(command, check=False)).stdout.decode()


async def test_a_broken_preface_is_refused_as_a_whole_one_is(server):
    with anyio.fail_after(5):
        answer = await server.exchange(b"PRI * HTTP/2.0\r\nSM\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 505 ")
    assert b"healthy" in await server.exchange(HEALTH)
