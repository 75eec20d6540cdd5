"""What a start does not load: modules that this config has no use for."""

from __future__ import annotations

import subprocess
import sys

import pytest

CONFIG = """
imports: [echo_ops]
http: {port: 0}
flow:
  echo: {flow_content: EchoOp()}
"""
OPS = """
from flowcore import BaseAsyncOp, C


@C.register_op()
class EchoOp(BaseAsyncOp):
    async def async_execute(self):
        self.context.response.answer = self.context.query
"""
CHECK = "from flowcore.cli import main; main(['check', 'config=echo'], standalone_mode=False)"
SERVE = """
import anyio, flowcore, flowcore_http
from flowcore_http import serving, servers

async def serve(settings):
    async def stopped():
        pass

    async with flowcore.FlowApp(flowcore.load_config("echo")) as app:
        with serving.listen(settings) as sock:
            await servers.server_of(settings)(serving.create_app(app, settings), sock, stopped)

anyio.run(serve, flowcore_http.HttpSettings(port=0, playground=True))
"""


def loaded(folder, code):
    """Return the packages that a process has loaded at its end."""
    (folder / "echo.yaml").write_text(CONFIG, encoding="utf-8")
    (folder / "echo_ops.py").write_text(OPS, encoding="utf-8")
    tell = "import sys; print('loaded', *{name.partition('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", f"{code}\n{tell}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("code", [CHECK, SERVE], ids=["check", "serve"])
def test_a_plain_service_loads_no_client_no_model_and_no_other_server(tmp_path, code):
    unused = {
        *("openai", "httpx", "httpx2", "numpy", "xllamacpp"),
        *("gunicorn", "uvicorn", "limits", "trio", "markdown_it"),
    }

    assert loaded(tmp_path, code) & unused == set()


def test_a_config_is_checked_without_a_server(tmp_path):
    server = {"quart", "flask", "werkzeug", "hypercorn", "h11", "prometheus_client"}

    assert loaded(tmp_path, CHECK) & server == set()
