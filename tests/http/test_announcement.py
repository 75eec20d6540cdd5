from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("flowcore")
CONFIG = """
imports: [flowcore.testing]
flow:
  ask: {flow_content: ChatOp()}
llm: {default: {backend: scripted}}
"""


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_the_address_is_a_record_where_the_log_is_json(tmp_path: Path, server: str):
    (tmp_path / "my.yaml").write_text(CONFIG, encoding="utf-8")
    environment = {**os.environ, "FLOWCORE_LOG_FORMAT": "JSON", "FLOWCORE_LOG_LEVEL": "ERROR"}
    command = [SCRIPT, "config=my", "http.port=0", f"http.server={server}"]

    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            record = json.loads(process.stderr.readline())
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
        finally:
            process.kill()

    assert record["message"].startswith(f"serving at {record['url']} (docs: {record['url']}/docs")
    assert record["message"].endswith("), flows: ask")
    assert record["url"].startswith("http://127.0.0.1:")
    assert record["flows"] == ["ask"]
    assert (record["level"], record["logger"]) == ("INFO", "flowcore.http")
    assert rest == ""
