"""Behind nginx with its default proxy settings: HTTP/1.0 to the service, and buffering on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowcore_http import StreamCutError, SyncHttpClient
from tests.docs.markdown import ROOT, blocks
from tests.nginx import running_nginx
from tests.tries import is_within

from .conftest import running

pytestmark = pytest.mark.nginx

OPS = """
import os
import time
from pathlib import Path

import anyio

from flowcore import BaseAsyncOp, C, FlowStreamChunk


class NotedOp(BaseAsyncOp):
    async def async_execute(self):
        self.note("start")
        try:
            await self.work()
        finally:
            self.note("end")

    def note(self, what):
        with Path("noted").open("a", encoding="utf-8") as file:
            file.write(f"{self.context.get('who', '')} {what} {time.time()}\\n")

    async def say(self, **chunk):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk={"at": time.time(), **chunk}))


@C.register_op()
class TickOp(NotedOp):
    async def work(self):
        for _ in range(self.context.get("ticks", 5)):
            await anyio.sleep(0.05)
            await self.say()


@C.register_op()
class SilentOp(NotedOp):
    async def work(self):
        await self.say(pid=os.getpid())
        await anyio.sleep(self.context.get("seconds", 30))
        await self.say()


@C.register_op()
class AnswerOp(NotedOp):
    async def work(self):
        self.context.response.answer = "yes"
"""

CONFIG = """
imports: [nginx_ops]
flow:
  tick: {flow_content: TickOp(), stream: true}
  silent: {flow_content: SilentOp(), stream: true}
  patient: {flow_content: SilentOp(), stream: true, on_disconnect: {grace: 30}}
  answer: {flow_content: AnswerOp()}
"""

DEFAULT, BETTER = [
    block.text
    for block in blocks(ROOT / "docs/how-to/behind-nginx.md")
    if block.language == "nginx"
]


@dataclass
class Site:
    """The service behind nginx."""

    url: str
    port: int
    folder: Path

    def noted(self, who: str, what: str) -> list[float]:
        """Return when ops that were asked for by `who` noted this."""
        file = self.folder / "noted"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        found = [re.fullmatch(r"(.*) (\w+) ([\d.]+)", line) for line in lines]
        return [float(m[3]) for m in found if m and m[1] == who and m[2] == what]

    def wait_noted(self, who: str, what: str, seconds: float = 20.0) -> float:
        """Wait until an op has noted this, and return when it did."""
        deadline = time.monotonic() + seconds
        while not self.noted(who, what):
            assert time.monotonic() < deadline, f"no {what!r} of {who!r}"
            time.sleep(0.01)
        return self.noted(who, what)[0]

    def exchange(self, request: bytes) -> bytes:
        """Send bytes, and return what comes until nothing more does."""
        received = b""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as sock,
            # nginx may refuse a request, or fall silent, before it has read all of it.
            contextlib.suppress(OSError),
        ):
            sock.sendall(request)
            while data := sock.recv(65536):
                received += data
                sock.settimeout(0.1)
        return received


@contextmanager
def site(
    folder: Path, *settings: str, directives: str = "", config: str = DEFAULT
) -> Generator[Site]:
    """Run the service and nginx before it, with the configuration of the documentation."""
    folder.mkdir(exist_ok=True)
    (folder / "nginx_ops.py").write_text(OPS, encoding="utf-8")
    (folder / "site.yaml").write_text(CONFIG, encoding="utf-8")
    with (
        running(folder, "config=site", *settings) as url,
        running_nginx(
            folder / "nginx",
            config.replace("http://127.0.0.1:8002", url)
            .replace("127.0.0.1:8002", url.removeprefix("http://"))
            .replace("location / {", "location / { " + directives),
        ) as port,
    ):
        yield Site(f"http://127.0.0.1:{port}", port, folder)


@pytest.fixture(scope="module", params=[DEFAULT, BETTER], ids=["default", "better"])
def shared_site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Site]:
    with site(tmp_path_factory.mktemp("site"), config=request.param) as shared:
        yield shared


@contextmanager
def streaming(site: Site, flow: str, **inputs: Any) -> Generator[Iterator[dict[str, Any]]]:
    """Run a flow; the value iterates over its chunks, with the time that each took to arrive."""

    def chunks(response: httpx.Response) -> Iterator[dict[str, Any]]:
        for line in response.iter_lines():
            if line.startswith("data:{"):
                arrived = time.time()
                chunk = json.loads(line.removeprefix("data:"))["chunk"]
                yield {**chunk, "delay": arrived - chunk["at"]}

    with (
        httpx.Client(trust_env=False, timeout=10) as client,
        client.stream("POST", f"{site.url}/{flow}", json=inputs) as response,
    ):
        assert response.status_code == 200
        yield chunks(response)


def delays(site: Site) -> list[float]:
    with streaming(site, "tick") as chunks:
        return [chunk["delay"] for chunk in chunks]


def test_each_chunk_reaches_the_client_within_100_ms(shared_site: Site):
    # The machine may be busy with something else, but not each time.
    tries = (delays(shared_site) for _ in range(10))

    assert any(len(delay) == 5 and max(delay) < 0.1 for delay in tries)


def test_it_is_a_header_of_the_service_that_switches_the_buffering_off(tmp_path: Path):
    directive = "proxy_ignore_headers X-Accel-Buffering;"
    with site(tmp_path / "site", directives=directive) as buffering:
        held_back = delays(buffering)

    assert held_back[0] > 0.15


def test_a_client_that_leaves_cancels_the_op_within_a_second(shared_site: Site):
    def seconds(who: str) -> float:
        with streaming(shared_site, "silent", who=who) as chunks:
            next(chunks)
        left = time.time()
        return shared_site.wait_noted(who, "end") - left

    assert is_within(1, seconds, "leaver")


def test_a_client_that_leaves_before_the_first_chunk_cancels_the_op(shared_site: Site):
    def seconds(who: str) -> float:
        body = json.dumps({"who": who, "ticks": 1000}).encode()
        request = b"POST /tick HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", shared_site.port)) as sock:
            sock.sendall(request + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            shared_site.wait_noted(who, "start")
        left = time.time()
        return shared_site.wait_noted(who, "end") - left

    assert is_within(1, seconds, "early")


def test_heartbeats_keep_a_silent_stream_open(tmp_path: Path):
    timeout = "proxy_read_timeout 2s;"
    with site(tmp_path / "site", "http.heartbeat=0.3", directives=timeout) as patient:
        with streaming(patient, "silent", seconds=3) as chunks:
            assert len(list(chunks)) == 2
        with SyncHttpClient(patient.url, trust_env=False) as client:
            assert len(list(client.execute_stream_flow("silent", seconds=3))) == 2


def test_a_stream_that_nginx_gives_up_on_is_known_to_be_cut(tmp_path: Path):
    timeout = "proxy_read_timeout 1s;"
    with (
        site(tmp_path / "site", "http.heartbeat=60", directives=timeout) as impatient,
        SyncHttpClient(impatient.url, trust_env=False) as client,
        pytest.raises(StreamCutError),
    ):
        list(client.execute_stream_flow("silent", seconds=3))


@pytest.mark.parametrize("config", [DEFAULT, BETTER], ids=["default", "better"])
def test_a_stream_whose_server_dies_is_known_to_be_cut(config: str, tmp_path: Path):
    # By default, to nginx a stream ends well where the connection to the service ends.
    with (
        site(tmp_path / "site", config=config) as doomed,
        SyncHttpClient(doomed.url, reconnects=1, trust_env=False) as client,
    ):
        chunks = client.execute_stream_flow("silent")
        os.kill(next(chunks)["content"]["pid"], signal.SIGKILL)
        with pytest.raises(StreamCutError):
            next(chunks)


def post(who: str, *headers: str, body: bytes | None = None) -> bytes:
    """Return a request that runs `answer`, with these headers and a body that tells who asks."""
    body = json.dumps({"who": who}).encode() if body is None else body
    lines = ["POST /answer HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*pieces: bytes, size: str = "{:x}", end: bytes = b"\r\n") -> bytes:
    """Return the pieces as chunks of a body."""
    return b"".join(
        size.format(len(piece)).encode() + end + piece + end for piece in (*pieces, b"")
    )


ONE = json.dumps({"who": "one"}).encode()
HIDDEN = post("hidden", "Content-Length: 17", body=b'{"who": "hidden"}')
PADDED = ONE + b" " * len(HIDDEN)
LENGTH = f"Content-Length: {len(ONE)}"
LONGER = f"Content-Length: {len(ONE) + len(HIDDEN)}"
TE = "Transfer-Encoding: chunked"
SMUGGLING = {
    "length and chunks": post("", LONGER, TE, body=chunked(ONE) + HIDDEN),
    "chunks and length": post("", TE, LENGTH, body=chunked(ONE) + HIDDEN),
    "length and chunks, whose end hides it": post("", LONGER, TE, body=chunked() + HIDDEN),
    "unknown coding": post("", LENGTH, "Transfer-Encoding: xchunked", body=ONE + HIDDEN),
    "coding after chunked": post("", LENGTH, f"{TE}, identity", body=ONE + HIDDEN),
    "coding before chunked": post("", "Transfer-Encoding: gzip, chunked", body=ONE + HIDDEN),
    "two codings": post("", LENGTH, TE, "Transfer-Encoding: identity", body=ONE + HIDDEN),
    "space before colon": post("", LENGTH, "Transfer-Encoding : chunked", body=ONE + HIDDEN),
    "tab in coding": post("", LENGTH, "Transfer-Encoding: \x0bchunked", body=ONE + HIDDEN),
    "quoted coding": post("", LENGTH, 'Transfer-Encoding: "chunked"', body=ONE + HIDDEN),
    "folded header": post("", LONGER, "X: y", f" {TE}", body=chunked(ONE) + HIDDEN),
    "name with underscore": post("", LONGER, "Transfer_Encoding: chunked", body=ONE + HIDDEN),
    "two lengths": post("", LENGTH, LONGER, body=ONE + HIDDEN),
    "two lengths in turn": post("", LONGER, LENGTH, body=ONE + HIDDEN),
    "length with sign": post("", f"Content-Length: +{len(ONE)}", body=ONE + HIDDEN),
    "lengths in a list": post("", f"{LENGTH}, {len(ONE)}", body=ONE + HIDDEN),
    "length in hex": post("", "Content-Length: 0x10", body=ONE + HIDDEN),
    "length with a bare line feed": post("", f"X: y\n{LONGER}", body=ONE + HIDDEN),
    "length with a bare return": post("", f"X: y\r{LONGER}", LENGTH, body=ONE + HIDDEN),
    "null in a header": post("", LENGTH, "X: \0", body=ONE + HIDDEN),
    "chunk size with sign": post("", TE, body=chunked(ONE, size="+{:x}") + HIDDEN),
    "chunk size in hex notation": post("", TE, body=chunked(ONE, size="0x{:x}") + HIDDEN),
    "chunk size beyond 64 bits": post("", TE, body=chunked(ONE, size="f0000000000000{:03x}")),
    "chunk size without digits": post("", TE, body=chunked(ONE, size="") + HIDDEN),
    "chunks that end in a bare line feed": post("", TE, body=chunked(ONE, HIDDEN, end=b"\n")),
    "chunk extension with a line feed": post("", TE, body=chunked(ONE, size="{:x};\nx") + HIDDEN),
    "chunk longer than its size": post("", TE, body=b"1\r\n" + ONE + b"\r\n0\r\n\r\n" + HIDDEN),
    "no length": post("", body=ONE + HIDDEN),
    "a request within the body": post("", LONGER, body=ONE + HIDDEN),
    "a request within chunks": post("", TE, body=chunked(ONE, HIDDEN)),
    "a request within a length, after blanks": post(
        "", f"Content-Length: {len(PADDED)}", body=PADDED
    ),
    "an upgrade to HTTP/2": post(
        "", LONGER, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", body=ONE + HIDDEN
    ),
    "a GET with a body": b"GET /health HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n%s"
    % (f"Content-Length: {len(HIDDEN)}".encode(), HIDDEN),
    "an expectation": post("", LONGER, "Expect: 100-continue", body=ONE + HIDDEN),
}


@pytest.mark.parametrize("config", [DEFAULT, BETTER], ids=["default", "better"])
def test_a_request_never_smuggles_another_one_through(
    config: str, tmp_path: Path, subtests: pytest.Subtests
):
    with site(tmp_path / "site", config=config) as guarded:
        for name, request in SMUGGLING.items():
            with subtests.test(name):
                ones = len(guarded.noted("one", "start"))
                answer = guarded.exchange(request)
                # What could have been left on a connection to the service would come before this.
                after = post(name, "Connection: close", f"Content-Length: {len(name) + 11}")
                assert guarded.exchange(after).startswith(b"HTTP/1.1 200 ")
                guarded.wait_noted(name, "end")

                assert answer.startswith(b"HTTP/1.1 ") or answer == b""
                assert len(guarded.noted("one", "start")) - ones <= 1
                assert guarded.noted("hidden", "start") == []


def test_two_requests_on_one_connection_are_two(shared_site: Site):
    body = json.dumps({"who": "twin"}).encode()
    request = post("twin", f"Content-Length: {len(body)}")

    assert shared_site.exchange(request * 2).count(b"HTTP/1.1 200") == 2
    assert len(shared_site.noted("twin", "start")) == 2


def test_faults_come_through_as_they_are(shared_site: Site):
    with httpx.Client(base_url=shared_site.url, trust_env=False) as client:
        unknown = client.post("/answr", json={})
        malformed = client.post(
            "/answer", content=b"{", headers={"Content-Type": "application/json"}
        )

    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_flow")
    assert (malformed.status_code, malformed.json()["code"]) == (400, "invalid_json")
    assert malformed.headers["content-type"] == "application/problem+json"


CHAT_KEY = "k" * 32


@pytest.mark.parametrize("config", [DEFAULT, BETTER], ids=["default", "better"])
def test_keys_are_asked_for_and_pass(config: str, tmp_path: Path):
    keys = f'http.api_keys=["{CHAT_KEY}"]'
    with site(tmp_path / "site", keys, config=config) as locked:
        with httpx.Client(base_url=locked.url, trust_env=False) as client:
            refused = client.post("/answer", json={"who": "nobody"})
        with SyncHttpClient(locked.url, api_key=CHAT_KEY, trust_env=False) as client:
            answer = client.execute_flow("answer", who="somebody").answer

    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert answer == "yes"
    assert (locked.noted("nobody", "start"), len(locked.noted("somebody", "start"))) == ([], 1)


def test_the_addresses_that_nginx_reports_are_told_apart(tmp_path: Path):
    settings = ("http.rate_limit=2/hour", 'http.trusted_proxies=["127.0.0.1"]')
    with site(tmp_path / "site", *settings, config=BETTER) as limited:
        transports = [httpx.HTTPTransport(local_address=f"127.0.0.{n}") for n in (1, 2)]
        statuses: list[list[int]] = []
        for transport in transports:
            with httpx.Client(base_url=limited.url, transport=transport) as client:
                # What a client claims itself does not count.
                headers = [{"X-Forwarded-For": f"192.0.2.{n}"} for n in range(3)]
                answers = [client.post("/answer", json={}, headers=named) for named in headers]
                statuses.append([answer.status_code for answer in answers])

    assert statuses == [[200, 200, 429]] * 2


def test_a_stream_that_was_cut_is_resumed_through_nginx(tmp_path: Path):
    # nginx gives up on the stream once for each silence, and the client comes back.
    slow = "proxy_read_timeout 1s;"
    with (
        site(tmp_path / "site", "http.heartbeat=60", directives=slow) as impatient,
        SyncHttpClient(impatient.url, trust_env=False) as client,
    ):
        chunks = list(client.execute_stream_flow("patient", seconds=1.5))

    assert len(chunks) == 2
