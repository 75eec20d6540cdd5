"""How often and how much a client may ask: counted for its key, or else its address."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from ipaddress import ip_address
from typing import Any, ClassVar

import anyio
import httpx
import pytest
from limits.aio.storage import MemoryStorage
from pydantic import ValidationError

from flowcore import BaseAsyncOp, ConfigError, FlowApp, FlowStreamChunk, load_config
from flowcore_http import HttpSettings
from flowcore_http.addresses import block_of, client_address, parse_address, parse_proxies
from flowcore_http.exchange import Exchange
from flowcore_http.problem import HttpProblem
from flowcore_http.rate_limit import RateLimit, Windows, open_storage, parse_rate

ALICE = {"Authorization": "Bearer alice-has-this-key-0123456789"}
BOB = {"Authorization": "Bearer bob-has-this-other-key-987654"}
KEYS: dict[str, Any] = {
    name: fields["Authorization"].removeprefix("Bearer ")
    for name, fields in (("alice", ALICE), ("bob", BOB))
}


class QuickOp(BaseAsyncOp):
    """Ends at once."""

    async def async_execute(self):
        self.context.response.answer = "done"


class FailOp(BaseAsyncOp):
    """Fails."""

    async def async_execute(self):
        raise ValueError("no luck")


class WaitOp(BaseAsyncOp):
    """Streams a chunk and waits until it is told to end, or cancelled."""

    end: ClassVar[anyio.Event]

    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))
        await self.end.wait()


FLOWS = {
    "quick": {"flow_content": "QuickOp()"},
    "fail": {"flow_content": "FailOp()"},
    "wait": "WaitOp()",
    "hold": {"flow_content": "WaitOp()"},
}


@pytest.fixture(autouse=True)
def end() -> anyio.Event:
    WaitOp.end = anyio.Event()
    return WaitOp.end


@pytest.fixture
def limited(serve):
    """Return `serve` with the flows of this module."""
    return lambda **settings: serve(FLOWS, QuickOp, FailOp, WaitOp, **settings)


async def statuses(client: httpx.AsyncClient, url: str, count: int, **options: Any) -> list[int]:
    """Return the statuses of requests that are sent at the same time, in order."""
    answers = await asyncio.gather(*(client.post(url, json={}, **options) for _ in range(count)))
    return sorted(answer.status_code for answer in answers)


# --- rate ---


async def test_a_burst_of_requests_gets_as_many_as_the_limit_and_no_more(limited):
    async with limited(rate_limit="5/minute") as server, httpx.AsyncClient() as client:
        got = await statuses(client, f"{server.url}/quick", 30)

    assert got == [200] * 5 + [429] * 25


async def test_a_refused_request_is_told_when_to_come_back(limited):
    async with limited(rate_limit="1/minute") as server, httpx.AsyncClient() as client:
        await client.post(f"{server.url}/quick", json={})
        refused = await client.post(f"{server.url}/quick", json={})

    assert refused.status_code == 429
    assert refused.json()["code"] == "rate_limited"
    assert refused.json()["title"] == "Too Many Requests"
    assert re.fullmatch(r"5\d|60", refused.headers["Retry-After"])


async def test_who_comes_back_as_told_is_served(limited):
    async with limited(rate_limit="2 per 3 seconds") as server, httpx.AsyncClient() as client:
        assert await statuses(client, f"{server.url}/quick", 3) == [200, 200, 429]
        refused = await client.post(f"{server.url}/quick", json={})
        await anyio.sleep(int(refused.headers["Retry-After"]))

        assert await statuses(client, f"{server.url}/quick", 3) == [200, 200, 429]


async def test_each_key_has_a_limit_of_its_own(limited):
    async with (
        limited(rate_limit="2/minute", api_keys=KEYS) as server,
        httpx.AsyncClient() as client,
    ):
        url = f"{server.url}/quick"
        assert await statuses(client, url, 3, headers=ALICE) == [200, 200, 429]
        assert await statuses(client, url, 3, headers=BOB) == [200, 200, 429]


async def test_requests_without_a_key_do_not_use_up_anything(limited):
    async with (
        limited(rate_limit="1/minute", api_keys=KEYS) as server,
        httpx.AsyncClient() as client,
    ):
        url = f"{server.url}/quick"
        assert await statuses(client, url, 5) == [401] * 5
        assert await statuses(client, url, 1, headers=ALICE) == [200]
        assert await statuses(client, url, 1) == [401]


@pytest.mark.parametrize(
    "field",
    ["X-Forwarded-For", "X-Real-Ip", "Forwarded", "Remote-Addr", "X-Client-Ip", "Client-Ip"],
)
async def test_no_header_gives_a_client_another_address(limited, field):
    async with limited(rate_limit="2/minute") as server, httpx.AsyncClient() as client:
        got = [
            (
                await client.post(
                    f"{server.url}/quick", json={}, headers={field: f"203.0.113.{number}"}
                )
            ).status_code
            for number in range(4)
        ]

    assert got == [200, 200, 429, 429]


async def test_behind_a_trusted_proxy_each_client_has_a_limit_of_its_own(limited):
    async with (
        limited(rate_limit="1/minute", trusted_proxies=["127.0.0.0/8"]) as server,
        httpx.AsyncClient() as client,
    ):
        got = [
            (
                await client.post(
                    f"{server.url}/quick", json={}, headers={"X-Forwarded-For": forwarded}
                )
            ).status_code
            for forwarded in (
                "203.0.113.1",
                "203.0.113.2",
                "198.51.100.1, 203.0.113.2",  # what stands before is the client's invention
                "2001:db8::1",
                "2001:db8::2",  # the same network
                "2001:db8:0:1::1",
            )
        ]

    assert got == [200, 200, 429, 200, 429, 200]


async def test_unknown_paths_wrong_methods_and_faults_count_as_well(limited):
    async with limited(rate_limit="4/minute") as server, httpx.AsyncClient() as client:
        got = [
            (await client.request(method, server.url + path)).status_code
            for method, path in [
                ("POST", "/unknown"), ("PUT", "/quick"), ("POST", "/quick"),
                ("GET", "/openapi.json"),
                ("POST", "/quick"), ("GET", "/unknown"),
            ]
        ]  # fmt: skip

    assert got == [404, 405, 415, 200, 429, 429]


async def test_health_docs_and_preflights_are_always_answered(limited):
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    async with limited(rate_limit="1/hour") as server, httpx.AsyncClient() as client:
        await client.post(f"{server.url}/quick", json={})
        for _ in range(3):
            assert (await client.get(f"{server.url}/health")).status_code == 200
            assert (await client.get(f"{server.url}/docs")).status_code == 200
            preflight = await client.options(f"{server.url}/quick", headers=asked)
            assert preflight.status_code == 204


async def test_a_refusal_comes_before_the_body(limited):
    head = b"POST /quick HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    async with limited(rate_limit="1/minute") as server:
        async with httpx.AsyncClient() as client:
            await client.post(f"{server.url}/quick", json={})
        async with await server.connect() as connection:
            await connection.send(head + b"Content-Length: 1000000\r\n\r\n{")
            with anyio.fail_after(10):
                answer = await connection.receive()

    assert answer.startswith(b"HTTP/1.1 429")


@pytest.mark.parametrize(
    "rate", ["60", "minute", "0/minute", "-1/minute", "1/fortnight", "1/minute; 5/hour", "", "∞/s",
             "1000001/minute", "1/9999 days", "9" * 5000 + "/minute", 60],
)  # fmt: skip
def test_a_rate_that_is_none_stops_the_start(tmp_path, rate):
    path = tmp_path / "c.yaml"
    value = rate if isinstance(rate, int) else f"'{rate}'"
    path.write_text(f"http:\n  rate_limit: {value}\n", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"'http\.rate_limit'") as caught:
        FlowApp(load_config(str(path)))
    assert str(caught.value).startswith(f"{path}:2: ")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("rate", ["60/minute", "1 per second", "5 per 10 seconds", "100/day"])
def test_rates_are_written_in_several_ways(rate):
    assert parse_rate(rate).amount >= 1


# --- storages ---


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "nonsense://:hunter2hunter2@host",
        "redis://:hunter2hunter2@127.0.0.1",
        "redis://me:hunter2/hunter2@127.0.0.1",
        "memory://:hunter2@[::1",
    ],
)
def test_a_storage_that_cannot_be_used_stops_the_start_without_its_password(tmp_path, url):
    path = tmp_path / "c.yaml"
    path.write_text(
        f"http:\n  rate_limit: 1/minute\n  rate_limit_storage: {url}\n", encoding="utf-8"
    )
    app = FlowApp(load_config(str(path)))

    with pytest.raises(ConfigError, match="rate_limit_storage") as caught:
        app.service().check(app)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert "hunter2" not in str(caught.value)


class BrokenStorage(MemoryStorage):
    """A storage that fails, or does not answer, while its server is down."""

    STORAGE_SCHEME: ClassVar[list[str]] = ["async+broken"]
    down: ClassVar[Exception | None] = None

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        if isinstance(self.down, TimeoutError):
            await anyio.sleep_forever()
        if self.down is not None:
            raise self.down
        return await super().acquire_entry(key, limit, expiry, amount)


async def refused(limit: RateLimit, client: str = "me") -> bool:
    try:
        await limit.check(client)
    except HttpProblem:
        return True
    return False


async def test_a_shared_storage_is_asked():
    assert isinstance(open_storage("async+memory://"), MemoryStorage)
    limit = RateLimit("2/minute", "memory://")

    assert [await refused(limit) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("fault", [OSError("password hunter2"), TimeoutError()])
async def test_while_the_shared_storage_is_down_the_process_counts_by_itself(
    monkeypatch, caplog, fault
):
    monkeypatch.setattr("flowcore_http.rate_limit._STORAGE_SECONDS", 0.05)
    monkeypatch.setattr("flowcore_http.rate_limit._PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(BrokenStorage, "down", fault)
    limit = RateLimit("2/minute", "broken://:hunter2@127.0.0.1")
    with anyio.fail_after(5):
        assert [await refused(limit) for _ in range(3)] == [False, False, True]
        monkeypatch.setattr(BrokenStorage, "down", None)
        while await refused(limit):
            await anyio.sleep(0.01)

    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert type(fault).__name__ in warnings[0]
    assert "works again" in warnings[1]
    assert "hunter2" not in caplog.text


async def test_the_clock_of_the_machine_may_be_set(monkeypatch):
    limit = RateLimit("1/minute")
    assert not await refused(limit, "early")
    real = time.time
    for jump in (-86_400, 86_400):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        with pytest.raises(HttpProblem) as caught:
            await limit.check("early")
        assert 0 < int(caught.value.headers["Retry-After"]) <= 60


async def test_windows_move_with_time_and_forget():
    windows = Windows()
    assert await windows.acquire_entry("a", 1, 0)
    for number in range(100):
        assert await windows.acquire_entry(f"client {number}", 1, 0)

    assert len(windows.clients) <= 2


@pytest.mark.parametrize("limit", ["_MAX_CLIENTS", "_MAX_ENTRIES"])
async def test_the_memory_for_windows_is_bounded(monkeypatch, limit):
    monkeypatch.setattr(f"flowcore_http.rate_limit.{limit}", 100)
    windows = Windows()
    for number in range(1000):
        await windows.acquire_entry(f"client {number // 3}", 10, 60)
        await windows.acquire_entry("busy", 10, 60)

    assert len(windows.clients) <= 100
    assert not await windows.acquire_entry("busy", 10, 60)


# --- runs at the same time ---


async def test_a_key_has_only_so_many_runs_at_the_same_time(limited, end):
    async with (
        limited(max_runs_per_key=2, api_keys=KEYS) as server,
        httpx.AsyncClient(base_url=server.url) as client,
        client.stream("POST", "/wait", json={}, headers=ALICE) as first,
        client.stream("POST", "/wait", json={}, headers=ALICE) as second,
    ):
        assert (first.status_code, second.status_code) == (200, 200)
        refusal = await client.post("/quick", json={}, headers=ALICE)
        assert refusal.status_code == 429
        assert refusal.json()["code"] == "too_many_runs_of_key"
        assert refusal.headers["Retry-After"].isdigit()
        assert (await client.post("/quick", json={}, headers=BOB)).status_code == 200
        end.set()
        await first.aread()
        await server.no_runs()
        assert (await client.post("/quick", json={}, headers=ALICE)).status_code == 200


async def test_a_burst_starts_no_more_runs_than_allowed(limited, end):
    got: list[int] = []

    async def ask(client: httpx.AsyncClient, url: str) -> None:
        got.append((await client.post(url, json={})).status_code)
        if len(got) == 17:
            end.set()

    async with (
        limited(max_runs_per_key=3) as server,
        httpx.AsyncClient() as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(20):
            tasks.start_soon(ask, client, f"{server.url}/hold")

    assert got == [429] * 17 + [200] * 3


async def test_every_ending_gives_the_place_back(limited, end):
    async with (
        limited(max_runs_per_key=1) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        async with client.stream("POST", "/wait", json={}) as left:
            assert left.status_code == 200
        await server.no_runs()
        assert (await client.post("/fail", json={})).status_code == 500
        assert (await client.post("/quick", content=b"[")).status_code == 415
        assert (await client.post("/quick", json=[])).status_code == 422
        assert (await client.post("/quick", json={})).status_code == 200
        assert (await client.post("/quick", json={})).status_code == 200


async def test_who_is_at_a_limit_can_still_read_on_and_cancel(limited):
    async with (
        limited(max_runs_per_key=1, rate_limit="2/minute") as server,
        httpx.AsyncClient(base_url=server.url) as client,
        client.stream("POST", "/wait", json={}) as running,
    ):
        run_id = running.headers["X-Run-Id"]
        from_the_start = {"Last-Event-ID": f"{run_id}-0"}
        async with client.stream("POST", "/wait", json={}, headers=from_the_start) as resumed:
            assert resumed.status_code == 200
            assert resumed.headers["X-Run-Id"] == run_id
        assert (await client.post("/quick", json={})).status_code == 429
        async with client.stream("GET", f"/runs/{run_id}/events") as read_again:
            assert read_again.status_code == 200
        assert (await client.get(f"/runs/{run_id}")).status_code == 200
        assert (await client.post(f"/runs/{run_id}/cancel")).status_code == 200
        assert "[DONE]" in (await running.aread()).decode()


@pytest.mark.parametrize("event_id", ["", "nonsense", "0" * 32 + "-0"])
async def test_an_event_id_does_not_lead_around_the_limits(limited, event_id):
    async with (
        limited(max_runs_per_key=1, rate_limit="3/minute") as server,
        httpx.AsyncClient(base_url=server.url) as client,
        client.stream("POST", "/wait", json={}),
    ):
        fields = {"Last-Event-ID": event_id}
        got = [(await client.post("/quick", json={}, headers=fields)).status_code for _ in range(3)]

        assert got[0] in (404, 429)
        assert got[2] == 429
        assert len(server.app.runs) == 1


async def test_a_run_that_outlives_its_connection_still_counts(serve, end):
    flows = {"wait": {"flow_content": "WaitOp()", "stream": True, "on_disconnect": {"grace": 60}}}
    async with (
        serve(flows, WaitOp, max_runs_per_key=1) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        async with client.stream("POST", "/wait", json={}) as left:
            assert left.status_code == 200
        assert (await client.post("/wait", json={})).status_code == 429
        end.set()
        await server.no_runs()
        assert (await client.post("/wait", json={})).status_code == 200


@pytest.mark.parametrize("value", [0, -1, "many"])
def test_a_number_of_runs_that_is_none_is_refused(value):
    with pytest.raises(ValidationError, match="max_runs_per_key"):
        HttpSettings(max_runs_per_key=value)


# --- addresses ---


def request_from(peer: str | None, *forwarded: str) -> Exchange:
    scope: Any = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": "/", "root_path": "",
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
        "client": None if peer is None else (peer, 1),
    }  # fmt: skip
    never: Any = None
    return Exchange(scope, never, never)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.2, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.2", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2,10.0.0.3 "], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.2, 198.51.100.1, fd00::7"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, garbage, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1,"], "10.0.0.1"),
        ("10.0.0.1", ["1" * 5000], "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(peer, forwarded, expected):
    proxies = parse_proxies(["10.0.0.0/8", "fd00::/8"])

    assert client_address(request_from(peer, *forwarded), proxies) == ip_address(expected)


@pytest.mark.parametrize("peer", [None, "", "/run/socket"])
def test_a_peer_without_an_address_is_none(peer):
    assert client_address(request_from(peer, "198.51.100.1"), parse_proxies(["0.0.0.0/0"])) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.1", "203.0.113.1", True),
        ("203.0.113.1", "203.0.113.2", False),
        ("::ffff:203.0.113.1", "203.0.113.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_a_network_of_64_bits_counts_as_one_client(one, other, same):
    assert (block_of(parse_address(one)) == block_of(parse_address(other))) is same


@pytest.mark.parametrize("proxy", ["proxy.example", "10.0.0.0/33", "10.0.0.1/8", "", "*"])
def test_a_proxy_that_is_no_address_stops_the_start(tmp_path, proxy):
    path = tmp_path / "c.yaml"
    path.write_text(f"http:\n  trusted_proxies: ['{proxy}']\n", encoding="utf-8")

    with pytest.raises(ConfigError, match="trusted_proxies") as caught:
        FlowApp(load_config(str(path)))
    assert str(caught.value).startswith(f"{path}:2: ")
