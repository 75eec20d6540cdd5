"""Upstreams over TLS, directly and through a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from flowcore import Message
from flowcore_openai.llm import OpenAICompatibleLLM
from flowcore_openai.settings import LLMSettings
from tests.tools import find_tool

from .conftest import pair
from .upstream import DONE, HANG, Upstream, delta, finish, sse


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            find_tool("openssl", package="openssl"), "req", "-x509", "-newkey", "ec",
            "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", path, "-out", path.with_name("cert.pem"),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    with path.open("a", encoding="ascii") as both:
        both.write(path.with_name("cert.pem").read_text(encoding="ascii"))
    return path


@contextlib.asynccontextmanager
async def tunnel() -> AsyncGenerator[str]:
    """A proxy that passes on what it is told to CONNECT; yields its URL."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, *_ = head.split(b" ")
        assert method == b"CONNECT"
        host, _, port = target.decode().partition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.mark.parametrize("proxied", [False, True])
async def test_an_answer_over_tls_is_read_and_closed_like_any_other(
    proxied: bool, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with Upstream(context) as upstream, tunnel() as proxy:
        if proxied:
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            monkeypatch.setenv("NO_PROXY", "")
        upstream.on("m", sse(*[delta("word ")] * 500, finish(), DONE))
        upstream.on("hangs", sse(delta("Hel"), HANG))
        for model in ("m", "hangs"):
            llm = OpenAICompatibleLLM(LLMSettings(model_name=model, base_url=upstream.base_url))
            with anyio.fail_after(5):
                if model == "m":
                    for _ in range(2):
                        chunks = [pair(c) async for c in llm.astream_chat([Message(content="hi")])]
                        assert chunks == [("answer", "word ")] * 500 + [("usage", {})]
                    assert upstream.connections == 1
                else:
                    stream = llm.astream_chat([Message(content="hi")])
                    assert pair(await anext(stream)) == ("answer", "Hel")
                    await stream.aclose()
                    await upstream.requests[-1].gone.wait()
            await llm.aclose()
