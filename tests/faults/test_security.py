"""Who gets in, who does not, and what nobody gets to see."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import httpx
import pytest

from tests.faults.client import until
from tests.faults.conftest import Start
from tests.faults.models import FAULTS, Models
from tests.faults.server import CANARY, Server, new_key, running

ANN, BOB = "sk-canary-ann-1f0c93", "sk-canary-bob-77ab02"
PASSWORD = "canary-password-30d9"
BASIC = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
CANARIES = [CANARY, ANN, BOB, PASSWORD, BASIC]


def secrets_of(models: Models) -> dict[str, str]:
    """The environment in which ``config=faults,keys`` has a secret wherever one can be set."""
    return {
        "FAULTS_UPSTREAM": models.base_url,
        "FAULTS_UPSTREAM_WITH_PASSWORD": models.base_url.replace("//", f"//user:{PASSWORD}@"),
        "FAULTS_ANN": ANN,
        "FAULTS_BOB": BOB,
    }


@pytest.fixture(scope="module")
def guarded(
    workers: int, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with keys."""
    folder = tmp_path_factory.mktemp("guarded")
    with running(folder, "config=faults,keys", workers=workers, **secrets_of(models)) as server:
        yield server


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def post(server: Server, path: str, headers: object = None, **inputs: object) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=inputs, headers=headers, timeout=10)  # pyright: ignore[reportArgumentType]


# --- keys ---


def test_with_a_key_a_flow_runs(guarded: Server):
    answer = post(guarded, "/echo", bearer(ANN), texts=["a"])
    assert answer.status_code == 200
    assert answer.text.endswith("data:[DONE]\n\n")


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, ""),
        ({"Authorization": ""}, ""),
        ({"Authorization": "Bearer"}, ""),
        ({"Authorization": "Bearer x"}, ""),
        (bearer(ANN[:-1]), ""),
        (bearer(ANN + "x"), ""),
        ({"Authorization": ANN}, ""),
        ({"Authorization": f"Basic {ANN}"}, ""),
        ([("Authorization", f"Bearer {ANN}"), ("Authorization", f"Bearer {ANN}")], ""),
        ({"X-Api-Key": ANN}, ""),
        ({}, f"?key={ANN}&api_key={ANN}&access_token={ANN}"),
        ({"Cookie": f"Authorization=Bearer {ANN}"}, ""),
    ],
)
def test_without_one_valid_key_every_request_gets_the_same_401_and_runs_nothing(
    guarded: Server, key: str, headers: object, query: str
):
    answer = post(guarded, f"/echo{query}", headers, key=key)
    reference = post(guarded, "/no-such-flow", {})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.content == reference.content
    assert guarded.events(key) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/echo"),
        ("GET", "/echo"),
        ("POST", "//echo"),
        ("POST", "/%65cho"),
        ("POST", "/ECHO"),
        ("POST", "/echo/"),
        ("POST", "/./echo"),
        ("POST", "/health/../echo"),
        ("POST", "/health%2f..%2fecho"),
        ("POST", "/echo%00"),
        ("POST", "/echo;x"),
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
        ("GET", "/runs/" + "0" * 32),
        ("POST", "/runs/" + "0" * 32 + "/cancel"),
        ("GET", "/runs/" + "0" * 32 + "/events"),
        ("GET", "/nothing"),
        ("GET", "/"),
    ],
)
def test_whatever_the_path_looks_like_the_key_is_wanted(guarded: Server, method: str, path: str):
    request = (
        f"{method} {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    status = int(guarded.exchange(request.encode()).split(b" ")[1])
    assert status == 401


def test_health_readiness_and_preflights_want_no_key(guarded: Server):
    assert httpx.get(f"{guarded.url}/health").status_code == 200
    assert httpx.get(f"{guarded.url}/ready").status_code == 200
    preflight = httpx.options(
        f"{guarded.url}/echo",
        headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"},
    )
    assert preflight.status_code in {200, 204}


def test_a_run_belongs_to_the_key_that_started_it(guarded: Server, key: str):
    with httpx.stream(
        "POST", f"{guarded.url}/quiet", json={"key": key}, headers=bearer(ANN)
    ) as stream:
        url = f"{guarded.url}/runs/{stream.headers['x-run-id']}"
        unknown = httpx.get(f"{guarded.url}/runs/{'0' * 32}", headers=bearer(BOB))
        for answer in (
            httpx.get(url, headers=bearer(BOB)),
            httpx.get(f"{url}/events", headers=bearer(BOB)),
            httpx.post(f"{url}/cancel", headers=bearer(BOB)),
        ):
            assert (answer.status_code, answer.content) == (404, unknown.content)
        resumed = {**bearer(BOB), "Last-Event-ID": f"{stream.headers['x-run-id']}-1"}
        assert post(guarded, "/quiet", resumed).status_code == 404
        assert httpx.get(url, headers=bearer(ANN)).json()["state"] == "running"
        assert httpx.post(f"{url}/cancel", headers=bearer(ANN)).status_code in {200, 202}
    guarded.wait_for(key, "ended")
    assert guarded.events(key) == ["started", "cancelled", "ended"]


# --- limits ---


def test_a_rate_limit_is_429_and_no_header_of_the_client_changes_whose_it_is(start: Start):
    with start("http.rate_limit=5/minute") as server:
        statuses: list[int] = []
        for number in range(5 * server.workers + 3):
            headers = {
                "X-Forwarded-For": f"10.0.0.{number}",
                "X-Real-IP": f"10.0.1.{number}",
                "Forwarded": f"for=10.0.2.{number}",
            }
            answer = post(server, "/answer", headers)
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["code"] == "rate_limited"
        assert statuses.count(200) <= 5 * server.workers
        assert statuses[-1] == 429 or server.workers > 1
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_streams_count_as_runs_of_their_client_until_they_end(start: Start, key: str):
    with start("http.max_runs_per_key=2") as server:
        streams = [server.open("quiet", key=key) for _ in range(2 * server.workers + 1)]
        statuses = [stream.response.status for stream in streams]
        assert statuses.count(200) <= 2 * server.workers
        assert 429 in statuses
        for stream in streams:
            stream.leave()
        until(lambda: post(server, "/answer").status_code == 200)


# --- headers ---


def test_no_origin_is_reflected_with_credentials(server: Server):
    answer = httpx.get(f"{server.url}/health", headers={"Origin": "https://evil.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    preflight = httpx.options(
        f"{server.url}/echo",
        headers={
            "Origin": "https://a.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, last-event-id, content-type",
        },
    )
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert {"authorization", "content-type", "last-event-id"} <= set(re.split(r",\s*", allowed))
    assert int(preflight.headers["access-control-max-age"]) > 0


@pytest.mark.parametrize(
    "value", ["x\r\nX-Injected: 1", "x\nX-Injected: 1", "\x00", "a" * 5000, "\x1b[31m"]
)
def test_no_value_of_a_request_becomes_a_header_or_a_line_of_the_log(
    server: Server, key: str, value: str
):
    mark = len(server.log())
    for request in (
        f"POST /{value} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        f"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX-Request-Id: {value}\r\n\r\n",
        f"GET /runs/{value} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    ):
        # Whether it is refused or answered:
        head = server.exchange(request.encode()).partition(b"\r\n\r\n")[0]
        assert b"x-injected" not in head.lower()
    encoded = "/echo%0d%0aX-Injected:%201%1b[31m"
    assert "x-injected" not in post(server, encoded).headers
    server.run("raise", key=key, message=value + "\nERROR forged line")
    logged = server.log()[mark:]
    assert "\x1b" not in logged
    assert "\x00" not in logged
    assert not [line for line in logged.split("\n") if line.startswith(("ERROR forged", "X-Inj"))]


def test_streams_and_pages_have_the_headers_that_keep_them_private(server: Server):
    stream = post(server, "/echo", texts=["a"])
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert "no-cache" in stream.headers["cache-control"]
    assert "no-transform" in stream.headers["cache-control"]
    docs = httpx.get(f"{server.url}/docs", follow_redirects=True)
    assert docs.headers["x-content-type-options"] == "nosniff"
    assert "default-src" in docs.headers["content-security-policy"]
    assert not re.search(r"https?://(?!127\.0\.0\.1)", docs.text)


def test_no_page_of_a_debugger_is_shown(server: Server, key: str):
    for answer in (
        post(server, "/raise_whole", key=key),
        httpx.get(f"{server.url}/__debugger__?cmd=resource&f=style.css"),
        httpx.get(f"{server.url}/console"),
    ):
        assert answer.headers["content-type"] == "application/problem+json"
        assert "werkzeug" not in answer.text.lower()


def test_unknown_paths_make_no_metric_of_their_own(server: Server):
    name = new_key()
    for number in range(50):
        httpx.get(f"{server.url}/{name}-{number}")
    assert name not in httpx.get(f"{server.url}/metrics").text


# --- secrets ---


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_is_in_anything_that_the_process_wrote_or_answered(
    start: Start, models: Models, log_format: str
):
    environment = {"FLOWCORE_LOG_LEVEL": "DEBUG", "FLOWCORE_LOG_FORMAT": log_format}
    with start("config=faults,keys", **secrets_of(models), **environment) as server:
        answers = beat(server)
    written = server.log() + "".join(answers)
    assert len(answers) > 70
    assert "sk-wrong" not in server.log()
    assert [canary for canary in CANARIES if canary in written] == []


def beat(server: Server) -> list[str]:
    """Provoke faults of all kinds; return all that was answered."""
    answers: list[str] = []
    ann = bearer(ANN)

    def note(answer: httpx.Response) -> None:
        answers.append(f"{answer.headers}{answer.text}")

    with httpx.Client(base_url=server.url, timeout=10) as client:
        for model in FAULTS:
            if not model.startswith(("retry-after", "hang", "never", "drip", "thinks", "endless")):
                note(client.post("/ask", json={"key": new_key(), "model": model}, headers=ann))
        for model in ("status-401", "echoes-the-key", "redirect", "cut"):
            note(client.post("/ask_whole", json={"key": new_key(), "model": model}, headers=ann))
        for path in ("openapi.json", "docs", "metrics", "ready", "runs/x", "nothing"):
            for headers in (ann, bearer(BOB), {}, bearer("sk-wrong")):
                note(client.get(f"/{path}?key={ANN}", headers=headers))
        typed = {**ann, "Content-Type": "application/json"}
        for body in (b"{", b"[]", b'{"texts": 1, "token": 2}', b"\xff"):
            note(client.post("/echo", content=body, headers=typed))
        for flow in ("raise", "raise_whole", "group", "odd", "late", "branches"):
            inputs = {"key": new_key(), "payload": "object"}
            note(client.post(f"/{flow}", json=inputs, headers=ann))
    with httpx.stream("POST", f"{server.url}/quiet", json={}, headers=ann) as stream:
        answers.append(str(stream.headers))
    with server.connect() as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer " + ANN.encode())
    return answers


def test_the_key_does_reach_the_model(guarded: Server, models: Models, key: str):
    # Or else the test above would find nothing, for there was nothing.
    assert post(guarded, "/ask_hasty", bearer(ANN), key=key, model="good").status_code == 200
    (request,) = models.requests(key)
    assert request.headers["authorization"] == f"Bearer {CANARY}"
