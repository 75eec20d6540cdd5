"""A real server in a process of its own, clients of several makers, and how examples are made."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings

from flowcore_http import HttpClient, SyncHttpClient

from .npm import Parsers, running_parsers

# The same examples in every run: a test that fails here fails everywhere.
settings.register_profile(
    "flowcore",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
# To search for more: pytest tests/properties --hypothesis-profile=thorough
settings.register_profile(
    "thorough", settings.get_profile("flowcore"), derandomize=False, max_examples=2000
)
settings.load_profile("flowcore")

OPS = """
import pickle

import anyio

from flowcore import BaseAsyncOp, C, FlowStreamChunk


@C.register_op()
class SayOp(BaseAsyncOp):
    pause: float = 0.0

    async def async_execute(self):
        pickled = self.context.get("pickled")
        for payload in pickle.loads(bytes.fromhex(pickled)) if pickled else []:
            await anyio.sleep(self.pause)
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=payload))


@C.register_op()
class CountOp(BaseAsyncOp):
    async def async_execute(self):
        self.context.response.answer = str(len(self.context.get("name", "")))
"""

CONFIG = """
imports: [said_ops]
http: {heartbeat: 0.05}
flow:
  say: {flow_content: SayOp(), stream: true, on_disconnect: {grace: 15}}
  say_slowly: {flow_content: SayOp(pause=0.1), stream: true, on_disconnect: {grace: 15}}
  count:
    flow_content: CountOp()
    input_schema:
      name: {type: string, required: true}
      number: {type: integer, required: false}
      list: {type: array, items: {type: number}, required: false}
      object: {type: object, properties: {flag: {type: boolean}}, required: false}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Service:
    """A running server, and what it has logged."""

    url: str
    port: int
    log: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def service_process(tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    """The server, once for all properties."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "said_ops.py").write_text(OPS, encoding="utf-8")
    (folder / "said.yaml").write_text(CONFIG, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("flowcore")), "config=said", "http.port=0"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("FLOW")}
    process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    log: list[str] = []
    reader = threading.Thread(target=log.extend, args=(process.stderr,))
    try:
        for line in process.stderr:
            log.append(line)
            if found := re.search(r"serving at http://\S+:(\d+)", line):
                reader.start()
                yield Service(f"http://127.0.0.1:{found[1]}", int(found[1]), log)
                break
        else:
            pytest.fail(f"the server did not start:\n{''.join(log)}")
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0
        reader.join()
        process.stderr.close()


@pytest.fixture
def service(service_process: Service) -> Iterator[Service]:
    """The server; the test fails if it logs a traceback or an error."""
    before = len(service_process.log)
    yield service_process
    logged = "".join(service_process.log[before:])
    assert "Traceback" not in logged
    assert "ERROR" not in logged


@pytest.fixture(scope="session")
def portal() -> Generator[BlockingPortal]:
    """An event loop in a thread."""
    with start_blocking_portal("asyncio") as portal:
        yield portal


@pytest.fixture(scope="session")
def async_client(service_process: Service, portal: BlockingPortal) -> Generator[HttpClient]:
    with portal.wrap_async_context_manager(HttpClient(service_process.url)) as client:
        yield client


@pytest.fixture(scope="session")
def sync_client(service_process: Service) -> Generator[SyncHttpClient]:
    with SyncHttpClient(service_process.url) as client:
        yield client


@pytest.fixture(scope="session")
def npm_parsers(pytestconfig: pytest.Config) -> Generator[Parsers]:
    """The parsers from npm; the packages stay in pytest's cache, which git ignores."""
    with running_parsers(pytestconfig.cache.mkdir("npm")) as parsers:  # pyright: ignore[reportOptionalMemberAccess]
        yield parsers
