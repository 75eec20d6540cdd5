from __future__ import annotations

import http.server
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import PositiveInt

from flowcore import Finding, load_config
from flowcore_http import descriptors
from flowcore_http.diagnosis import diagnose
from flowcore_http.settings import HttpSettings


def findings(**http: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(load_config({"http": http}))}


def test_a_free_port_is_told():
    assert findings(port=0)["http.port"].level == "ok"


def test_a_port_that_is_taken_is_a_problem_and_its_holder_is_named():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        found = findings(port=sock.getsockname()[1])["http.port"]

    assert found.level == "problem"
    assert (f"held by process {os.getpid()}" in found.text) is (sys.platform == "linux")


def test_a_service_of_ours_at_the_port_is_only_a_warning():
    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status":"healthy"}')

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = findings(port=server.server_port)["http.port"]
        server.shutdown()

    assert (found.level, "a flowcore service answers there" in found.text) == ("warning", True)


def test_limits_come_with_their_values():
    found = findings(port=0, heartbeat=3, stall_warning=None)

    assert found["http.heartbeat"].text == "3 s"
    assert found["http.stall_warning"].text == "no limit"
    assert found["http.max_body_bytes"].text == "10,000,000 bytes"


def test_every_setting_that_is_a_number_is_among_the_limits():
    told = findings(port=0)

    for name, field in HttpSettings.model_fields.items():
        if {int, float, PositiveInt} & {*get_args(field.annotation), field.annotation}:
            assert f"http.{name}" in told


def test_keys_are_counted():
    key = "0123456789abcdef0123"

    assert findings(port=0, api_keys=[key])["http.api_keys"].text == "1 present"
    assert "http.api_keys" not in findings(port=0)


def test_a_service_that_anybody_can_reach_and_use_is_a_warning():
    assert findings(port=0, host="0.0.0.0")["http.api_keys"].level == "warning"


def test_the_server_and_what_is_installed_for_it_is_told():
    found = findings(port=0)["http.server"]

    assert found.level == "ok"
    assert "hypercorn 0." in found.text


def test_a_certificate_that_cannot_be_read_is_a_problem(tmp_path: Path):
    files = {"certfile": str(tmp_path / "c.pem"), "keyfile": str(tmp_path / "k.pem")}

    assert findings(port=0, **files)["http.certfile"].level == "problem"


@pytest.mark.parametrize(("files", "level"), [(20_000, "ok"), (100, "warning"), (None, "ok")])
def test_too_few_files_for_the_connections_are_a_warning(
    files: int | None, level: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flowcore_http.diagnosis.most_files", lambda: files)

    assert findings(port=0, max_connections=1000)["open files"].level == level


def test_the_most_files_are_at_least_those_of_now():
    most = descriptors.most_files()

    assert most is None or most >= 64


def test_nothing_is_told_of_another_service_or_of_wrong_settings():
    assert [*diagnose(load_config({"backend": "cmd"}))] == []
    assert findings(prot=1) == {}
