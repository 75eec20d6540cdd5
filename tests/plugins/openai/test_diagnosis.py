from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from flowcore import Finding, load_config
from flowcore_openai.diagnosis import diagnose

KEY = "sk-canary-42"


@contextmanager
def upstream(status: int) -> Generator[tuple[str, list[tuple[str, str | None]]]]:
    asked: list[tuple[str, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", asked
        finally:
            server.shutdown()


def findings(*, online: bool = False, kind: str = "llm", **entry: Any) -> dict[str, Finding]:
    entry = {"backend": "openai_compatible", "model_name": "m", **entry}
    config = load_config({kind: {"default": entry}})
    return {finding.name: finding for finding in diagnose(config, online)}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLOW_LLM_API_KEY", "FLOW_LLM_BASE_URL", "FLOW_EMBEDDING_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_a_missing_key_is_a_problem_where_one_is_needed_for_certain():
    assert findings()["llm.default.api_key"].level == "problem"
    assert findings(base_url="https://example.com/v1")["llm.default.api_key"].level == "warning"
    assert findings(kind="embedding_model")["embedding_model.default.api_key"].level == "warning"


def test_no_key_is_missed_on_this_machine_or_where_there_is_one():
    assert "llm.default.api_key" not in findings(base_url="http://127.0.0.1:8000/v1")
    assert "llm.default.api_key" not in findings(api_key=KEY)


def test_nobody_is_asked_unless_that_is_wanted():
    with upstream(200) as (url, asked):
        findings(base_url=url)
        assert asked == []
        found = findings(base_url=url, api_key=KEY, online=True)["llm.default.base_url"]

    assert asked == [("/v1/models", f"Bearer {KEY}")]
    assert (found.level, found.text) == ("ok", "127.0.0.1 answers (200)")


@pytest.mark.parametrize(
    ("status", "level"),
    [(401, "problem"), (403, "problem"), (404, "ok"), (429, "warning"), (503, "warning")],
)
def test_what_the_upstream_answers_tells_what_is_wrong(status: int, level: str):
    with upstream(status) as (url, _):
        found = findings(base_url=url, api_key=KEY, online=True)["llm.default.base_url"]

    assert found.level == level
    assert str(status) in found.text
    assert KEY not in str(found)


def test_an_upstream_that_cannot_be_reached_is_a_problem_without_its_password():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    url = f"http://me:{KEY}@127.0.0.1:{port}/v1"
    found = findings(base_url=url, online=True)["llm.default.base_url"]

    assert found.level == "problem"
    assert KEY not in str(found)


def test_the_timeouts_are_told():
    assert findings(idle_timeout=7)["llm.default.idle_timeout"].text == "7 s"


def test_an_entry_that_is_wrong_is_left_to_flowcore():
    assert findings(modle=1) == {}
