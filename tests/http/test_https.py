"""The service over TLS."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.abc
import httpx
import pytest
from anyio.streams.tls import TLSAttribute, TLSStream

from flowcore import BaseAsyncOp, FlowStreamChunk
from flowcore_http import tls
from tests.tools import find_tool

HEALTH = b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"


class CountOp(BaseAsyncOp):
    """Streams three numbers."""

    async def async_execute(self):
        for number in range(3):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"{number} "))


class FloodOp(BaseAsyncOp):
    """Streams without an end."""

    async def async_execute(self):
        while True:
            await self.context.add_stream_chunk(FlowStreamChunk(chunk="x" * 10_000))


class WaitOp(BaseAsyncOp):
    """Says nothing."""

    async def async_execute(self):
        await anyio.sleep_forever()


FLOWS = {"count": "CountOp()", "flood": "FloodOp()", "wait": "WaitOp()"}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certfile, keyfile = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            find_tool("openssl", package="openssl"), "req", "-x509", "-newkey", "ec",
            "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", keyfile, "-out", certfile,
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certfile, keyfile


@pytest.fixture
async def server(serve, certificate):
    certfile, keyfile = certificate
    async with serve(
        FLOWS, CountOp, FloodOp, WaitOp, certfile=certfile, keyfile=keyfile, write_timeout=1
    ) as running:
        yield running


@pytest.fixture
def trust(certificate) -> ssl.SSLContext:
    """What a client needs that trusts the certificate and would rather speak HTTP/2."""
    context = ssl.create_default_context(cafile=certificate[0])
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def connect(server, trust: ssl.SSLContext) -> TLSStream:
    return await anyio.connect_tcp(
        "127.0.0.1", server.port, ssl_context=trust, tls_standard_compatible=False
    )


async def test_a_stream_arrives_over_tls(server, certificate, caplog):
    context = ssl.create_default_context(cafile=certificate[0])
    async with httpx.AsyncClient(verify=context) as client:
        response = await client.post(f"https://127.0.0.1:{server.port}/count", json={})

    assert response.status_code == 200
    assert response.content.endswith(b"data:[DONE]\n\n")
    assert caplog.records == []


async def test_http_1_1_is_negotiated_with_a_client_that_would_rather_have_http_2(server, trust):
    with anyio.fail_after(5):
        async with await connect(server, trust) as connection:
            protocol = connection.extra(TLSAttribute.alpn_protocol)
            await connection.send(HEALTH)
            answer = await connection.receive()

    assert protocol == "http/1.1"
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_http_2_over_tls_is_refused_like_http_2_without(server, certificate):
    context = ssl.create_default_context(cafile=certificate[0])
    with anyio.fail_after(5):
        async with await connect(server, context) as connection:
            await connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            answer = await connection.receive()

    assert answer.startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize(
    "garbage",
    [
        HEALTH,
        b"x" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x16",
        b"\x00" * 70_000,
    ],
    ids=["plain HTTP", "text", "half a greeting", "a byte", "zeros"],
)
async def test_what_is_not_tls_fails_alone_and_without_a_word_in_the_log(
    server, trust, caplog, garbage
):
    for _ in range(5):
        async with await server.connect() as connection:
            with anyio.move_on_after(0.05), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await connection.send(garbage)
                await connection.receive()
    with anyio.fail_after(5):
        async with await connect(server, trust) as connection:
            await connection.send(HEALTH)
            answer = await connection.receive()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert caplog.records == []


async def test_a_client_that_does_not_trust_the_certificate_leaves_no_trace(server, caplog):
    async with httpx.AsyncClient(verify=ssl.create_default_context()) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"https://127.0.0.1:{server.port}/health")

    assert caplog.records == []


async def test_a_client_that_does_not_shake_hands_is_disconnected(server, monkeypatch, caplog):
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.2)
    with anyio.fail_after(5):
        assert await server.exchange(b"") == b""

    assert caplog.records == []


@pytest.mark.parametrize("abruptly", [False, True])
async def test_a_client_that_leaves_cancels_its_run_also_over_tls(
    server, trust, post, caplog, abruptly
):
    connection = await connect(server, trust)
    await connection.send(post("/wait"))
    with anyio.fail_after(5):
        assert (await connection.receive()).startswith(b"HTTP/1.1 200 ")
    [run] = server.app.runs.values()
    if abruptly:
        raw = connection.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await connection.aclose()

    with anyio.fail_after(10):
        await run.wait()
    assert run.cancel_reason == "client"
    assert caplog.records == []


async def test_a_client_that_stalls_is_disconnected_also_over_tls(server, trust, post, caplog):
    connection = await connect(server, trust)
    await connection.send(post("/flood"))
    with anyio.fail_after(5):
        await connection.receive()
    [run] = server.app.runs.values()

    with anyio.fail_after(10):
        await run.wait()
    await connection.aclose()
    assert run.cancel_reason == "write_timeout"
    assert caplog.records == []


async def test_the_end_does_not_wait_for_a_client_that_keeps_its_connection(
    serve, certificate, trust
):
    certfile, keyfile = certificate
    with anyio.fail_after(5):
        async with serve(FLOWS, CountOp, FloodOp, WaitOp, certfile=certfile, keyfile=keyfile) as it:
            connection = await connect(it, trust)
            await connection.send(HEALTH.replace(b"Connection: close\r\n", b""))
            assert (await connection.receive()).startswith(b"HTTP/1.1 200 ")
        await connection.aclose()


async def test_the_end_does_not_wait_for_a_client_that_does_not_shake_hands(serve, certificate):
    certfile, keyfile = certificate
    with anyio.fail_after(5):
        async with serve(FLOWS, CountOp, FloodOp, WaitOp, certfile=certfile, keyfile=keyfile) as it:
            connection = await it.connect()
            await connection.send(b"\x16")
        await connection.aclose()


if sys.platform == "linux":

    async def test_a_client_that_does_not_say_goodbye_is_not_waited_for(server, trust, caplog):
        connection = await connect(server, trust)
        raw = connection.extra(anyio.abc.SocketAttribute.raw_socket)
        await connection.send(HEALTH)
        with anyio.fail_after(5):
            assert (await connection.receive()).startswith(b"HTTP/1.1 200 ")
            # Nothing reads the server's goodbye, and nothing answers it.
            while is_open(raw):
                await anyio.sleep(0.05)
        await connection.aclose()
        assert caplog.records == []

    def is_open(client: socket.socket) -> bool:
        """Return whether the server's end of a connection is established."""
        port = client.getsockname()[1]
        table = Path("/proc/net/tcp").read_text().splitlines()[1:]
        states = [line.split()[3] for line in table if line.split()[2].endswith(f":{port:04X}")]
        return "01" in states or "08" in states
