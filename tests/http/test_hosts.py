"""The header Host: whom the service answers to, and nothing else is made of it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from flowcore import BaseAsyncOp, ConfigError, FlowApp, load_config
from flowcore_http import HttpSettings, create_app


class CountOp(BaseAsyncOp):
    """Counts its runs."""

    runs = 0

    async def async_execute(self):
        type(self).runs += 1


FLOWS = {"demo": {"flow_content": "CountOp()"}}


def request_bytes(
    *hosts: bytes, path: bytes = b"/demo", method: bytes = b"POST", version: bytes = b"1.1"
) -> bytes:
    lines = [
        b"%s %s HTTP/%s" % (method, path, version),
        *(b"Host: " + host for host in hosts),
        b"Content-Type: application/json",
        b"Content-Length: 2",
        b"Connection: close",
    ]
    return b"\r\n".join([*lines, b"", b"{}"])


@pytest.fixture
async def server(serve):
    CountOp.runs = 0
    names = ["flows.example", "*.flows.example", "127.0.0.1", "[::1]"]
    async with serve(FLOWS, CountOp, allowed_hosts=names) as running:
        yield running


@pytest.mark.parametrize(
    "host",
    [
        b"flows.example", b"FLOWS.Example", b"flows.example:80", b"flows.example:",
        b"flows.example.",
        b"a.flows.example", b"a.b.flows.example:65535", b"127.0.0.1:8002", b"[::1]:8002",
    ],
)  # fmt: skip
async def test_the_service_answers_to_its_names(server, host):
    with anyio.fail_after(5):
        answer = await server.exchange(request_bytes(host))

    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example", b"flows.example.evil.example", b"evilflows.example", b".flows.example",
        b"flows", b"example", b"localhost", b"127.0.0.2", b"[::2]", b"*", b"*.flows.example.x",
        b"flows..example", b"x" * 64 + b".flows.example.x", b"xn--0.example", b"%ff.example",
        b"-.-",
    ],
)  # fmt: skip
async def test_the_service_does_not_answer_to_other_names(server, host):
    with anyio.fail_after(5):
        answer = await server.exchange(request_bytes(host))

    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"code":"unknown_host"' in answer
    assert b"evil" not in answer
    assert CountOp.runs == 0


@pytest.mark.parametrize("path", [b"/health"])
async def test_a_supervisor_may_ask_under_any_name(server, path):
    with anyio.fail_after(5):
        answer = await server.exchange(request_bytes(b"10.1.2.3:8002", path=path, method=b"GET"))

    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b""],
        [b"flows.example", b"flows.example"],
        [b"flows.example", b"evil.example"],
        [b"flows.example, evil.example"],
        [b"flows.example/x"],
        [b"user@flows.example"],
        [b"http://flows.example"],
        [b"flows.example:port"],
        [b"flows.example:99999"],
        [b"flows.example:80:80"],
        [b"flows example"],
        [b"flows.example\\x"],
        [b"flows\xff.example"],
        [b"<script>"],
        [b"[::1"],
        [b"[zz]"],
        [b"::1"],
        [b":80"],
    ],
)
async def test_a_malformed_host_is_400(server, hosts):
    with anyio.fail_after(5):
        answer = await server.exchange(request_bytes(*hosts))

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"unknown_host" not in answer
    assert CountOp.runs == 0


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"")],
        [(b"host", b"a b")],
        [(b"host", b"[zz]")],
        [(b"host", b"a"), (b"host", b"a")],
        [(b"host", b"a"), (b"Host", b"b")],
    ],
)
async def test_a_malformed_host_is_a_problem_on_every_server(make_app, headers):
    quart = create_app(make_app(FLOWS, CountOp))
    scope: Any = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": "GET", "scheme": "http", "path": "/health", "raw_path": b"/health",
        "query_string": b"", "root_path": "", "headers": headers, "client": None, "server": None,
        "state": {}, "extensions": {},
    }  # fmt: skip
    received = [{"type": "http.request", "body": b"", "more_body": False}]
    sent = []
    answered = anyio.Event()

    async def receive():
        if received:
            return received.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    with anyio.fail_after(5):
        await quart(scope, receive, send)  # pyright: ignore[reportArgumentType]

    assert sent[0]["status"] == 400
    assert b'"code":"bad_host"' in b"".join(message.get("body", b"") for message in sent)


async def test_http_1_0_has_no_host_where_every_name_is_good(serve, server):
    async with serve(FLOWS, CountOp) as open_server:
        with anyio.fail_after(5):
            served = await open_server.exchange(request_bytes(version=b"1.0"))
            refused = await server.exchange(request_bytes(version=b"1.0"))

    assert b" 200 " in served.split(b"\r\n")[0]
    assert b'"code":"unknown_host"' in refused


@pytest.mark.parametrize(
    "path", [b"/", b"//demo", b"//evil.example/..", b"/docs/", b"/docs", b"/demo/", b"/a//b"]
)
async def test_no_url_is_made_of_the_host(serve, path):
    async with serve(FLOWS, CountOp) as server:
        with anyio.fail_after(5):
            answer = await server.exchange(request_bytes(b"evil.example", path=path, method=b"GET"))
            document = await server.exchange(
                request_bytes(b"evil.example", path=b"/openapi.json", method=b"GET")
            )

    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert not answer.startswith(b"HTTP/1.1 3")
    assert b"location" not in head
    assert b"evil.example" not in head
    assert b"evil.example" not in document


@pytest.mark.parametrize(
    "name",
    ["https://flows.example", "flows.example:80", "a.*.example", "*example", "", "a b", "::1"],
)
def test_a_name_that_is_none_stops_the_start(tmp_path, name):
    path = tmp_path / "c.yaml"
    path.write_text(f"http:\n  allowed_hosts: [flows.example, {name!r}]\n", encoding="utf-8")

    with pytest.raises(ConfigError, match="is not a host name") as caught:
        FlowApp(load_config(str(path)))
    assert str(caught.value).startswith(f"{path}:2: 'http.allowed_hosts'")


def test_an_empty_list_of_names_is_refused():
    with pytest.raises(ValidationError, match="no name is allowed"):
        HttpSettings(allowed_hosts=[])
