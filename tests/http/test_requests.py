"""Every fault of a request is an HTTP status with a problem as its body."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import Any

import anyio
import httpx
import pytest

from flowcore import BackendError, BaseAsyncOp, ConfigError, RunFailedError, UnknownNameError
from flowcore_http import create_app
from flowcore_http.service import RESERVED


class GreetOp(BaseAsyncOp):
    """Answers."""

    async def async_execute(self):
        self.context.response.answer = f"hello {self.context.name}"
        self.context.response.metadata["seen"] = sorted(self.context.keys())


class FailOp(BaseAsyncOp):
    """Fails in the way that the request asks for."""

    async def async_execute(self):
        errors: dict[str, Exception] = {
            "plain": ValueError("no luck"),
            "silent": ValueError(),
            "reported": RunFailedError("no luck"),
            "upstream": BackendError("no luck", code="upstream_refused"),
            "timeout": BackendError("no luck", code="upstream_idle_timeout"),
            "unknown": UnknownNameError("LLM", "x", []),
        }
        raise errors[self.context.how]


GREET = {"flow_content": "GreetOp()", "input_schema": {"name": {"type": "string"}}}
FLOWS = {"greet": GREET, "fail": {"flow_content": "FailOp()"}}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def server(serve):
    async with serve(FLOWS, GreetOp, FailOp, max_body_bytes=1000) as running:
        yield running


@pytest.fixture
async def client(server):
    async with httpx.AsyncClient(base_url=server.url) as http:
        yield http


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that a response is a problem, and return its members."""
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    assert "Traceback" not in response.text
    return body


async def test_a_flow_that_does_not_stream_answers_with_its_response(client):
    response = await client.post("/greet", json={"name": "you", "more": 1})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.text == (
        '{"answer":"hello you","success":true,"metadata":{"seen":["more","name"]}}'
    )


@pytest.mark.parametrize(
    "kind",
    ["application/json; charset=UTF-8", "Application/JSON", "application/ld+json"],
)
async def test_content_types_of_json_in_utf_8_are_accepted(client, kind):
    response = await client.post(
        "/greet", content=b'{"name": "you"}', headers={"Content-Type": kind}
    )

    assert response.status_code == 200


@pytest.mark.parametrize(
    "kind",
    [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"],
)
async def test_other_content_types_are_refused(client, kind):
    headers = {"Content-Type": kind} if kind else {}
    response = await client.post("/greet", content=b'{"name": "you"}', headers=headers)

    body = problem(response, 415, "unsupported_media_type")
    assert "application/json" in body["detail"]


async def test_a_syntax_fault_names_line_and_column(client):
    response = await client.post("/greet", content=b'{"name": you}', headers=JSON)

    assert "line 1 column" in problem(response, 400, "invalid_json")["detail"]


async def test_a_body_that_is_not_an_object_is_refused(client):
    assert problem(await client.post("/greet", json=["x"]), 422, "invalid_input")["errors"] == [
        {"loc": [], "msg": "a JSON object is required", "type": "dict_type"}
    ]


async def test_inputs_that_do_not_fit_are_listed_without_their_values(client):
    response = await client.post("/greet", json={"name": {"secret": "hunter2"}})

    [error] = problem(response, 422, "invalid_input")["errors"]
    assert error["loc"] == ["name"]
    assert set(error) == {"loc", "msg", "type"}
    assert "hunter2" not in response.text


async def test_an_unknown_flow_is_404_and_names_the_nearest(client):
    response = await client.post("/gret", json={})

    assert problem(response, 404, "unknown_flow")["detail"] == (
        "unknown flow 'gret'; did you mean 'greet'?"
    )


@pytest.mark.parametrize(
    "path", ["/", "/greet/", "/GREET", "/greet;x", "/greet%00", "/a/b", "/%c3%a9"]
)
async def test_paths_that_only_resemble_a_flow_are_404(client, path):
    problem(await client.post(path, json={"name": "you"}), 404, "unknown_flow")


async def test_the_root_tells_where_to_look(client):
    assert "/docs describes them" in problem(await client.get("/"), 404, "unknown_flow")["detail"]


async def test_a_path_of_script_is_escaped_text(client):
    response = await client.get("/%3Cscript%3Ealert(1)%3C/script%3E")

    problem(response, 404, "unknown_flow")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_other_methods_on_a_flow_are_405_and_tell_what_is_allowed(client, method):
    response = await client.request(method, "/greet")

    problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "OPTIONS, POST"


async def test_head_on_a_flow_is_405_without_a_body(client):
    response = await client.head("/greet")

    assert (response.status_code, response.content) == (405, b"")
    assert response.headers["Allow"] == "OPTIONS, POST"


async def test_health_answers_get_and_head_only(client):
    assert (await client.get("/health")).json() == {"status": "healthy"}
    assert (await client.head("/health")).status_code == 200
    problem(await client.post("/health", json={}), 405, "method_not_allowed")


async def test_a_body_that_is_declared_too_large_is_refused(client):
    response = await client.post("/greet", json={"name": "x" * 1000})

    assert "1000 bytes" in problem(response, 413, "body_too_large")["detail"]


async def test_a_chunked_body_is_refused_at_the_limit(client):
    async def upload():
        for _ in range(2000):
            yield b"x" * 1000

    response = await client.post("/greet", content=upload(), headers=JSON)

    problem(response, 413, "body_too_large")


async def test_a_client_that_uploads_much_still_sees_why_it_was_refused(server):
    head = b"POST /greet HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    total = 5_000_000
    with anyio.fail_after(5):
        async with await server.connect() as connection:
            await connection.send(head + b"Content-Length: %d\r\n\r\n" % total)
            for _ in range(total // 100_000):
                await connection.send(b"x" * 100_000)
            answer = await connection.receive()

    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_that_does_not_come_is_408(serve):
    head = b"POST /greet HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    async with serve(FLOWS, GreetOp, FailOp, body_timeout=0.3) as server:
        with anyio.fail_after(5):
            answer = await server.exchange(head + b"Content-Length: 100\r\n\r\n{")

    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"request_timeout"' in answer


@pytest.mark.parametrize(
    ("how", "status", "code", "detail"),
    [
        ("plain", 500, "op_failed", "ValueError: no luck"),
        ("silent", 500, "op_failed", "ValueError"),
        ("reported", 500, "run_failed", "no luck"),
        ("upstream", 502, "upstream_refused", "no luck"),
        ("timeout", 504, "upstream_idle_timeout", "no luck"),
        ("unknown", 500, "unknown_name", "unknown LLM 'x'; no LLM is registered"),
    ],
)
async def test_a_failed_run_is_told_and_logged_under_one_id(
    client, caplog, how, status, code, detail
):
    response = await client.post("/fail", json={"how": how})

    body = problem(response, status, code)
    assert body["detail"] == detail
    [record] = [r for r in caplog.records if body["error_id"] in r.getMessage()]
    assert (record.exc_info is not None) == (code == "op_failed")


async def test_the_connection_survives_every_refusal(server):
    async with await server.connect() as connection:
        for path, body in (("/gret", b"{}"), ("/greet", b"["), ("/greet", b'{"name": 1}')):
            await connection.send(
                b"POST %s HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)
            )
            answer = b""
            with anyio.fail_after(5):
                while b"\r\n\r\n{" not in answer:
                    answer += await connection.receive()
            assert re.match(rb"HTTP/1\.1 4(00|04|22)", answer)


async def test_leading_slashes_make_no_redirect(client):
    response = await client.post("//greet", json={"name": "you"})

    assert response.status_code in (200, 404)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_flow_may_not_take_the_name_of_an_endpoint_of_the_service(make_app, name):
    with pytest.raises(ConfigError, match=rf"{re.escape(repr(name))} cannot be served"):
        create_app(make_app({name: "GreetOp()"}, GreetOp))


async def test_an_app_that_is_not_open_answers_503(make_app):
    quart = create_app(make_app(FLOWS, GreetOp, FailOp))

    response = await quart.test_client().post("/greet", json={"name": "you"})

    assert response.status_code == 503
    assert json.loads(await response.get_data())["code"] == "stopping"


async def test_the_asgi_app_opens_and_closes_an_app_that_is_not_open(make_app):
    app = make_app(FLOWS, GreetOp, FailOp)
    quart = create_app(app)
    async with quart.test_app() as running:
        assert app.is_open
        response = await running.test_client().post("/greet", json={"name": "you"})

    assert response.status_code == 200
    assert not app.is_open


async def test_the_asgi_app_leaves_an_app_open_that_was_open_before(make_app):
    app = make_app(FLOWS, GreetOp, FailOp)
    async with app:
        async with create_app(app).test_app():
            pass

        assert app.is_open


# --- what all answers have in common


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/greet"),
        ("POST", "/nothing"),
        ("GET", "/health"),
        ("GET", "/ready"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/runs/nothing"),
        ("HEAD", "/health"),
    ],
)
async def test_no_browser_may_guess_what_an_answer_is(client, method, path):
    answer = await client.request(method, path, json={"name": "<script>"})
    assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]


# --- what they do not wait for


async def test_no_request_waits_for_threads_that_ops_have_taken(client):
    loop = asyncio.get_running_loop()
    release = threading.Event()
    for _ in range(100):
        loop.run_in_executor(None, release.wait)
    try:
        with anyio.fail_after(5):
            answer = await client.post("/greet", json={"name": "Bob"})
    finally:
        release.set()

    assert answer.json()["answer"] == "hello Bob"
