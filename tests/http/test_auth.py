"""Keys: who has none is told nothing, and costs nothing."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from pydantic import SecretStr, ValidationError
from quart import g

from flowcore import BaseAsyncOp, ConfigError, FlowApp, FlowStreamChunk, load_config
from flowcore_http import HttpClient, HttpError, HttpSettings, SyncHttpClient, create_app
from flowcore_http.auth import PUBLIC
from flowcore_http.keys import load_keys
from flowcore_http.listener import listen, warn_if_open

KEY = "alice-has-this-key-0123456789"
OTHER = "bob-has-this-other-key-987654"
KEYS: dict[str, Any] = {"alice": KEY, "bob": OTHER}


class CountOp(BaseAsyncOp):
    """Streams one chunk and counts its runs."""

    runs = 0

    async def async_execute(self):
        type(self).runs += 1
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))


class GreetOp(BaseAsyncOp):
    """Answers."""

    async def async_execute(self):
        self.context.response.answer = "hello"


FLOWS = {"demo": "CountOp()", "greet": {"flow_content": "GreetOp()"}}


@pytest.fixture
async def server(serve):
    CountOp.runs = 0
    async with serve(FLOWS, CountOp, GreetOp, api_keys=KEYS) as running:
        yield running


@pytest.fixture
async def client(server):
    async with httpx.AsyncClient(base_url=server.url) as http:
        yield http


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def request_bytes(*fields: bytes, path: bytes = b"/demo", method: bytes = b"POST") -> bytes:
    head = (
        b"Host: t",
        b"Content-Type: application/json",
        b"Content-Length: 2",
        b"Connection: close",
    )
    return b"\r\n".join((b"%s %s HTTP/1.1" % (method, path), *head, *fields, b"", b"{}"))


def without_date(answer: bytes) -> list[bytes]:
    return [line for line in answer.split(b"\r\n") if not line.lower().startswith(b"date:")]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_request_with_a_key_is_served(client, scheme):
    response = await client.post("/demo", json={}, headers={"Authorization": f"{scheme} {KEY}"})

    assert response.status_code == 200
    assert "[DONE]" in response.text
    assert CountOp.runs == 1


async def test_routes_of_ones_own_want_a_key_and_know_whose_it_is(make_app):
    quart = create_app(
        make_app(FLOWS, CountOp, GreetOp), HttpSettings(api_keys=KEYS, allowed_hosts=["*"])
    )

    @quart.get("/who")
    async def who() -> str:  # pyright: ignore[reportUnusedFunction]
        return f"{g.caller!r}"

    client = quart.test_client()
    refused = await client.get("/who")
    alice = await client.get("/who", headers=bearer(KEY))
    bob = await client.get("/who", headers=bearer(OTHER))

    assert refused.status_code == 401
    assert [await r.get_data(as_text=True) for r in (alice, bob)] == ["'alice'", "'bob'"]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"Authorization:"],
        [b"Authorization: Bearer"],
        [b"Authorization: Bearer "],
        [b"Authorization: Bearer x"],
        [b"Authorization: Bearer wrong-but-long-enough-to-be-one"],
        [b"Authorization: Bearer " + KEY[:-1].encode()],
        [b"Authorization: Bearer " + KEY.encode() + b"0"],
        [b"Authorization: Bearer " + KEY.upper().encode()],
        [b"Authorization: Bearer " + KEY.encode() + b", Bearer " + OTHER.encode()],
        [b"Authorization: Bearer " + KEY.encode() + b" " + OTHER.encode()],
        [b"Authorization: " + KEY.encode()],
        [b"Authorization: Basic " + KEY.encode()],
        [b"Authorization: Token " + KEY.encode()],
        [b"Authorization: Bearer " + KEY.encode(), b"Authorization: Bearer x"],
        [b"Authorization: Bearer " + KEY.encode(), b"Authorization: Bearer " + KEY.encode()],
        [b"Authorization: Bearer \xff\xfe\xfd" + KEY.encode()],
        [b"X-Api-Key: " + KEY.encode()],
        [b"Cookie: api_key=" + KEY.encode()],
        [b"Proxy-Authorization: Bearer " + KEY.encode()],
    ],
)
async def test_without_exactly_one_valid_key_the_answer_is_always_the_same(server, fields):
    with anyio.fail_after(5):
        missing = await server.exchange(request_bytes())
        answer = await server.exchange(request_bytes(*fields))

    assert answer.startswith(b"HTTP/1.1 401")
    assert b"\r\nwww-authenticate: bearer\r\n" in answer.lower()
    assert b"application/problem+json" in answer
    assert without_date(answer) == without_date(missing)
    assert CountOp.runs == 0


@pytest.mark.parametrize("query", ["api_key", "access_token", "key", "Authorization"])
async def test_a_key_in_the_query_is_none(client, query):
    response = await client.post("/demo", params={query: KEY}, json={})

    assert response.status_code == 401


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    [
        "/demo", "//demo", "/%64emo", "/demo/", "/demo%00", "/demo;x", "/DEMO", "/demo%2f..",
        "/demo%2F%2e%2e%2fhealth", "/health/../demo", "/health%2f..%2fdemo", "/docs/../demo",
        "/./demo", "/unknown", "/", "/openapi.json", "/metrics", "/runs/1", "/v1//chat", "/docs/x",
        "/health/", "/docs/docs.js/../../demo", "/d%65mo", "/demo?x=/health", "/d\xe9mo",
    ],
)  # fmt: skip
async def test_every_path_but_the_public_ones_wants_a_key(server, method, path):
    with anyio.fail_after(5):
        answer = await server.exchange(
            request_bytes(path=path.encode("latin-1"), method=method.encode())
        )

    assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400"))
    assert b"demo" not in answer
    assert b"location:" not in answer.lower()
    assert CountOp.runs == 0


@pytest.mark.parametrize("path", ["//demo", "/%64emo", "/demo/", "/demo%00", "/demo;x", "/DEMO"])
async def test_with_a_key_an_odd_path_is_the_flow_or_nothing(server, path):
    fields = f"Authorization: Bearer {KEY}".encode()
    with anyio.fail_after(5):
        answer = await server.exchange(request_bytes(fields, path=path.encode()))

    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404", b"HTTP/1.1 400"))


@pytest.mark.parametrize("path", ["/health", "/docs", "/docs/docs.css", "/docs/docs.js"])
async def test_the_public_endpoints_want_no_key_and_name_no_flow(client, path):
    response = await client.get(path)

    assert response.status_code == 200
    assert "demo" not in response.text


async def test_a_wrong_key_does_not_close_the_public_endpoints(client):
    assert (await client.get("/health", headers=bearer("wrong"))).status_code == 200


async def test_every_endpoint_but_those_listed_wants_a_key(make_app):
    settings = HttpSettings(api_keys=KEYS, allowed_hosts=["*"], playground=True)
    quart = create_app(make_app(FLOWS, CountOp, GreetOp), settings)
    client = quart.test_client()
    routes = {rule.rule: rule.endpoint for rule in quart.url_map.iter_rules()}
    others = ["/demo", "/nothing", "/runs/0", "/runs/0/events", "/runs/0/cancel", "/runs/"]
    others += ["/playground/flows.json", "/playground/markdown", "/playground/", "/playground/x"]
    pages = {"docs.css", "docs.html", "docs.js", "playground", "playground_asset"}

    assert {*pages, "health", "ready"} == PUBLIC
    for path, endpoint in [*routes.items(), *((path, "") for path in others)]:
        for method in ("GET", "POST", "OPTIONS"):
            response = await client.open(path, method=method, json={})
            # Where there is nothing of that method, nobody learns what there is.
            public = endpoint in PUBLIC and response.status_code in {200, 503}
            assert (response.status_code == 401) != public, path


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_with_a_key_a_wrong_method_is_405_and_tells_what_is_allowed(client, method):
    response = await client.request(method, "/demo", headers=bearer(KEY))

    assert response.status_code == 405
    assert response.headers["Allow"] == "OPTIONS, POST"


async def test_with_a_key_an_unknown_flow_is_404(client):
    response = await client.post("/demi", json={}, headers=bearer(KEY))

    assert response.status_code == 404
    assert "did you mean 'demo'?" in response.json()["detail"]


async def test_a_preflight_needs_no_key_and_tells_not_which_flows_exist(client):
    asked = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    known = await client.options("/demo", headers=asked)
    unknown = await client.options("/unknown", headers=asked)

    for response in (known, unknown):
        response.headers.pop("date")
    assert known.status_code == 204
    assert (known.status_code, known.headers) == (unknown.status_code, unknown.headers)
    assert CountOp.runs == 0


async def test_the_key_is_asked_for_before_the_body_comes(server):
    head = b"POST /demo HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    async with await server.connect() as connection:
        await connection.send(head + b"Content-Length: 1000000\r\n\r\n{")
        with anyio.fail_after(10):
            answer = await connection.receive()

    assert answer.startswith(b"HTTP/1.1 401")


async def test_a_client_that_waits_for_a_sign_to_send_its_body_gets_none(server):
    head = b"POST /demo HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    async with await server.connect() as connection:
        await connection.send(head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        with anyio.fail_after(10):
            answer = await connection.receive()

    assert answer.startswith(b"HTTP/1.1 401")


async def test_the_run_of_another_key_is_like_none(client):
    run_id = (await client.post("/demo", json={}, headers=bearer(KEY))).headers["X-Run-Id"]
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/events")):
        answers = [
            await client.request(method, f"/runs/{name}{path}", headers=bearer(key))
            for name, key in ((run_id, KEY), (run_id, OTHER), ("0" * len(run_id), OTHER))
        ]
        nobody = await client.request(method, f"/runs/{run_id}{path}")

        assert [answer.status_code for answer in answers] == [200, 404, 404]
        assert answers[1].json() == answers[2].json()
        assert nobody.status_code == 401

    resumed = {**bearer(OTHER), "Last-Event-ID": f"{run_id}-0"}
    assert (await client.post("/demo", json={}, headers=resumed)).status_code == 404


async def test_openapi_tells_that_a_key_is_needed(client, serve):
    document = (await client.get("/openapi.json", headers=bearer(KEY))).json()

    [name] = document["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"][name]["scheme"] == "bearer"
    assert document["security"] == [{name: []}]
    assert document["paths"]["/health"]["get"]["security"] == []
    assert "401" in document["paths"]["/demo"]["post"]["responses"]
    async with serve(FLOWS, CountOp, GreetOp) as open_server, httpx.AsyncClient() as other:
        document = (await other.get(f"{open_server.url}/openapi.json")).json()
    assert "security" not in document


async def test_keys_are_in_no_answer_log_or_repr(client, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    answers = [
        await client.request(method, path, headers=bearer(key))
        for method in ("GET", "POST")
        for path in ("/demo", "/openapi.json", "/docs", "/health", f"/{KEY[:5]}")
        for key in (KEY, f"{KEY}x")
    ]
    storage = SecretStr(f"redis://:{KEY}@127.0.0.1")
    settings = HttpSettings(api_keys=KEYS, rate_limit_storage=storage)
    texts = [answer.text + str(answer.headers) for answer in answers]
    texts += [repr(settings), str(settings), settings.model_dump_json(), *capfd.readouterr()]
    ours = [record for record in caplog.records if not record.name.startswith("http")]
    texts += [f"{record.getMessage()} {record.__dict__}" for record in ours]

    assert ours
    assert [text for text in texts if KEY in text] == []


async def test_a_client_presents_its_key(server):
    async with HttpClient(server.url, api_key=KEY) as client:
        assert "/demo" in (await client.list_endpoints())["paths"]
        chunks = [chunk async for chunk in client.execute_stream_flow("demo")]
        assert [chunk["content"] for chunk in chunks] == ["x"]

    def block() -> object:
        with SyncHttpClient(server.url, api_key=OTHER) as client:
            return client.execute_flow("greet").answer

    assert await anyio.to_thread.run_sync(block) == "hello"


async def test_a_client_without_a_key_is_told_so(server):
    async with HttpClient(server.url) as client:
        with pytest.raises(HttpError, match="Send a valid key") as caught:
            await client.execute_flow("greet")

    assert caught.value.status == 401


@pytest.mark.parametrize("key", ["", "with space", f"{KEY}\n", "schlüssel-über-alles"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key):
    with pytest.raises(HttpError) as caught:
        SyncHttpClient("http://127.0.0.1:1", api_key=key)

    assert not key.strip() or key.strip() not in str(caught.value)


async def test_the_command_takes_the_key_from_the_environment(server, tmp_path):
    command = [sys.executable, "-m", "flowcore", "call", "greet", "--url", server.url]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW")}
    with anyio.fail_after(30):
        refused = await anyio.run_process(command, check=False, env=environment, cwd=tmp_path)
        served = await anyio.run_process(
            command, env={**environment, "FLOWCORE_API_KEY": OTHER}, cwd=tmp_path
        )

    assert refused.returncode == 1
    assert b"Send a valid key" in refused.stderr
    assert served.stdout.strip() == b"hello"
    assert OTHER.encode() not in served.stderr


# --- where keys come from ---


def test_keys_come_from_the_environment_by_their_names_in_yaml(tmp_path, monkeypatch):
    monkeypatch.setenv("ALICES_KEY", KEY)
    path = tmp_path / "c.yaml"
    path.write_text('http: {api_keys: {alice: "${ALICES_KEY}"}}', encoding="utf-8")
    settings: Any = FlowApp(load_config(str(path))).service().settings

    assert load_keys(settings.api_keys, None).holder(KEY) == "alice"


def test_a_list_of_keys_gives_them_numbers_as_names():
    settings = HttpSettings(api_keys=[KEY, OTHER])  # pyright: ignore[reportArgumentType]
    keys = load_keys(settings.api_keys, settings.api_keys_file)

    assert [keys.holder(key) for key in (KEY, OTHER, "", "x")] == ["key-1", "key-2", "", ""]


def test_a_file_holds_keys_with_and_without_names(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\nalice: {KEY}\r\n  {OTHER}\n", encoding="utf-8-sig")
    path.chmod(0o600)
    more = HttpSettings(api_keys={"carol": "carol-has-yet-another-key"}).api_keys  # pyright: ignore[reportArgumentType]
    keys = load_keys(more, path)

    assert len(keys) == 3
    assert [keys.holder(key) for key in (KEY, OTHER)] == ["alice", "line-4"]
    assert keys.holder("carol-has-yet-another-key") == "carol"


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such permissions")
def test_a_file_that_everybody_can_read_is_warned_of(tmp_path, caplog):
    path = tmp_path / "keys"
    path.write_text(KEY, encoding="utf-8")
    path.chmod(0o644)
    load_keys({}, path)

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert str(path) in record.getMessage()
    assert KEY not in record.getMessage()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", "", "holds no key"),
        ("# only a comment\n", "", "holds no key"),
        (f"alice: {KEY}\nbob: short\n", ":2", "'bob' is shorter than 16 characters"),
        (f"alice: {KEY}\nalice: {OTHER}\n", ":2", "'alice' stands twice"),
        (f"alice: {KEY}\nbob: {KEY}\n", "", "'alice' and 'bob' have the same key"),
        (f"alice: {KEY} # hers\n", ":1", "characters other than"),
        (f"al ice: {KEY}\n", ":1", "'al ice' is none"),
        (f"alice: {KEY}ü\n", ":1", "characters other than"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_its_line(tmp_path, text, line, message):
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)

    with pytest.raises(ConfigError, match=message) as caught:
        load_keys({}, path)
    assert str(caught.value).startswith(f"{path}{line}: ")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xfd" * 10, b"x" * 1_000_001])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match="api_keys_file"):
        load_keys({}, path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "there is no key"),
        ([], "there is no key"),
        (None, "a list of keys"),
        (KEY, "a list of keys"),
        ({"alice": None}, "not a text"),
        ({"alice": 12345678901234567890}, "put it in quotes"),
        ({"alice": ""}, "'alice' is shorter than 16"),
        ({"alice": "only-15-letters"}, "secrets.token_urlsafe"),
        ({"alice": f"{KEY}\n"}, "characters other than"),
        ({"alice": KEY, "bob": KEY}, "have the same key"),
        ({KEY: "alice"}, "'alic…' is shorter than 16"),
    ],
)
def test_keys_that_are_none_stop_the_start_and_are_not_shown(keys, message):
    config = {"http": {"api_keys": keys}}

    with pytest.raises(ConfigError, match=message) as caught:
        FlowApp(load_config(config)).service()
    assert KEY not in str(caught.value)
    with pytest.raises(ValidationError) as shown:
        HttpSettings(api_keys=keys)
    assert KEY not in str(shown.value)


@pytest.mark.parametrize("file", [None, ""])
def test_a_file_that_is_named_by_nothing_does_not_open_the_service(file):
    with pytest.raises(ValidationError, match="it names no file"):
        HttpSettings(api_keys_file=file)


def test_the_check_command_reads_the_file(tmp_path):
    app = FlowApp(load_config({"http": {"api_keys_file": str(tmp_path / "none")}}))

    with pytest.raises(ConfigError, match="api_keys_file cannot be read"):
        app.service().check(app)


# --- without keys ---


@pytest.mark.parametrize(
    ("host", "settings", "warned"),
    [
        ("0.0.0.0", {}, True),
        ("0.0.0.0", {"api_keys": KEYS}, False),
        ("0.0.0.0", {"api_keys_file": Path("keys")}, False),
        ("127.0.0.1", {}, False),
        ("localhost", {}, False),
    ],
)
def test_a_public_address_without_keys_is_warned_of(caplog, host, settings, warned):
    values = HttpSettings(host=host, port=0, **settings)
    with listen(values) as sock:
        warn_if_open(values, sock)

    messages = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(messages) == warned
    assert all("http.api_keys" in message and "0.0.0.0" in message for message in messages)
