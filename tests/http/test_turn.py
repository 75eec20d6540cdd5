"""`flowcore serve --reload`, with real processes: none of them may be missed by a client."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest
from anyio.streams.text import TextReceiveStream

from tests.servers import SERVER

if sys.platform != "linux":
    pytest.skip("the processes that are left are counted in /proc", allow_module_level=True)

OPS = """
import os
import anyio
from flowcore import BaseAsyncOp, BaseOp, C, FlowStreamChunk

ANSWER = "one"

@C.register_op()
class SayOp(BaseOp):
    def execute(self):
        self.context.response.answer = ANSWER

@C.register_op()
class TickOp(BaseAsyncOp):
    count: int = 15

    async def async_execute(self):
        for number in range(self.count):
            await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"{ANSWER}-{number} "))
            await anyio.sleep(0.1)

@C.register_op()
class AskOp(BaseAsyncOp):
    async def async_execute(self):
        self.context.response.answer = self.get_prompt("ask")

@C.register_op()
class LaterOp(BaseAsyncOp):
    async def async_execute(self):
        import turn_later
        self.context.response.answer = turn_later.TEXT

@C.register_op()
class DieOp(BaseAsyncOp):
    async def async_execute(self):
        os._exit(3)
"""

CONFIG = """
imports: [turn_ops]
flow:
  say: {flow_content: SayOp()}
  tick: {flow_content: TickOp(), stream: true, on_disconnect: {grace: 30}}
  ask: {flow_content: AskOp()}
  later: {flow_content: LaterOp()}
  die: {flow_content: DieOp()}
"""


class Service:
    """A service that reloads, in a folder of its own."""

    def __init__(self, process: anyio.abc.Process, folder: Path, temporary: Path) -> None:
        self.process = process
        self.folder = folder
        self.temporary = temporary
        self.log = ""
        self.log_ended = False
        self.client = httpx.AsyncClient(timeout=30)

    @property
    def url(self) -> str:
        return re.findall(r"serving at (\S+)", self.log)[-1]

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def change(self, old: str, new: str, name: str = "turn_ops.py") -> None:
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    async def logged(self, pattern: str, count: int = 1) -> None:
        """Wait until a pattern stands in the log, so many times."""
        deadline = time.monotonic() + 30
        while len(re.findall(pattern, self.log, re.MULTILINE)) < count:
            if self.log_ended or time.monotonic() > deadline:
                pytest.fail(f"{pattern!r} is not {count} times in the log:\n{self.log}")
            await anyio.sleep(0.02)

    async def answer(self, flow: str = "say") -> str:
        return (await self.client.post(f"{self.url}/{flow}", json={})).json()["answer"]

    def pids(self) -> set[int]:
        """Return the processes of its session that are left, the supervisor among them."""
        found: set[int] = set()
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.add(int(path.parent.name))
        return found

    async def exit_code(self, within: float = 20) -> int:
        with anyio.fail_after(within):
            return await self.process.wait()


@asynccontextmanager
async def launched(
    folder: Path, *arguments: str, ops: str = OPS, config: str = CONFIG, server: str = SERVER
) -> AsyncGenerator[Service]:
    (folder / "turn_ops.py").write_text(ops, encoding="utf-8")
    (folder / "turn_ops_prompt.yaml").write_text("ask: how?", encoding="utf-8")
    (folder / "turn_later.py").write_text("TEXT = 'late'", encoding="utf-8")
    (folder / "c.yaml").write_text(config, encoding="utf-8")
    settings = ["config=c", "http.port=0", f"http.server={server}"]
    command = [sys.executable, "-m", "flowcore", "--reload", *settings, *arguments]
    async with (
        # The path of a socket may not be long, and that of pytest's folder may be.
        anyio.TemporaryDirectory(prefix="flowcore-") as temporary,
        await anyio.open_process(
            command, cwd=folder, env={**os.environ, "TMPDIR": temporary}, start_new_session=True
        ) as process,
        anyio.create_task_group() as tasks,
    ):
        service = Service(process, folder, Path(temporary))

        async def read_log() -> None:
            assert process.stderr is not None
            async for text in TextReceiveStream(process.stderr):
                service.log += text
            service.log_ended = True

        tasks.start_soon(read_log)
        try:
            yield service
        finally:
            await service.client.aclose()
            for number in (signal.SIGTERM, signal.SIGKILL):
                if process.returncode is None:
                    process.send_signal(number)
                    with anyio.move_on_after(10):
                        await process.wait()
            for pid in service.pids():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncGenerator[Service]:
    async with launched(tmp_path) as running:
        await running.logged("files are watched")
        yield running


both_servers = pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])


@both_servers
async def test_a_changed_op_answers_while_a_stream_of_the_one_before_goes_on_to_its_end(
    tmp_path: Path, server: str
) -> None:
    async with launched(tmp_path, server=server) as service:
        await service.logged("files are watched")
        assert await service.answer() == "one"
        async with service.client.stream("POST", f"{service.url}/tick", json={}) as response:
            parts = response.aiter_text()
            body = await anext(parts)

            service.change('"one"', '"two"')
            await service.logged(r"^flowcore: reloaded in \d+\.\d s: turn_ops.py changed$")
            assert await service.answer() == "two"
            assert "one-14" not in body

            async for part in parts:
                body += part

    chunks = re.findall(r'"chunk": ?"(one-\d+) "', body)
    assert chunks == [f"one-{number}" for number in range(15)]
    assert body.endswith("data:[DONE]\n\n")


async def test_a_broken_configuration_is_told_and_the_service_goes_on(service: Service) -> None:
    service.change("SayOp()", "SoyOp()", "c.yaml")
    await service.logged("not reloaded, c.yaml changed: see above")
    told = service.log
    answer = await service.answer()
    service.change('"one"', '"two"')
    service.change("SoyOp()", "SayOp()", "c.yaml")  # last: a reload between them changes nothing
    await service.logged("reloaded in")

    assert "SoyOp" in told
    assert answer == "one"
    assert await service.answer() == "two"


async def test_a_module_that_fails_is_told_and_the_service_goes_on(service: Service) -> None:
    service.change('ANSWER = "one"', "ANSWER = (")
    await service.logged("not reloaded, turn_ops.py changed")
    assert await service.answer() == "one"
    service.change("ANSWER = (", 'ANSWER = "two"')
    await service.logged("reloaded in")

    assert await service.answer() == "two"


async def test_a_service_that_cannot_start_does_when_its_fault_is_mended(tmp_path: Path) -> None:
    async with launched(tmp_path, ops=f"1 / 0\n{OPS}") as service:
        await service.logged("the process ended with exit code 2; waiting for a change")
        service.change("1 / 0\n", "")
        await service.logged("files are watched")

        assert "ZeroDivisionError" in service.log
        assert await service.answer() == "one"


@both_servers
async def test_no_request_is_refused_or_cut_while_processes_follow_each_other(
    tmp_path: Path, server: str
) -> None:
    reloads = 10
    answers: list[Any] = []
    over = False
    async with launched(tmp_path, server=server) as service:
        await service.logged("files are watched")

        async def ask(client: Callable[[], httpx.AsyncClient], *, kept: bool) -> None:
            current = client()
            while not over:
                try:
                    answer = await current.post(f"{service.url}/say", json={})
                    answers.append(answer.json()["answer"] if answer.is_success else answer)
                except httpx.HTTPError as error:
                    answers.append(error)
                if not kept:
                    await current.aclose()
                    current = client()
                await anyio.sleep(0.05)
            await current.aclose()

        def client() -> httpx.AsyncClient:
            return httpx.AsyncClient(timeout=30)

        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(lambda kept=number % 2 == 0: ask(client, kept=kept))
            for number in range(1, reloads + 1):
                (tmp_path / "turn_ops.py").write_text(f'{OPS}\nANSWER = "{number}"\n')
                with anyio.fail_after(30):
                    while str(number) not in answers:
                        await anyio.sleep(0.02)
            over = True

    assert [answer for answer in answers if not isinstance(answer, str)] == []


async def test_several_quick_saves_are_one_restart(service: Service) -> None:
    for number in range(8):
        service.change("ANSWER = ", f"# {number}\nANSWER = ")
        await anyio.sleep(0.03)
    service.change('"one"', '"two"')
    await service.logged("reloaded in")
    await anyio.sleep(1.5)

    assert service.log.count("reloaded in") == 1
    assert await service.answer() == "two"


async def test_a_changed_prompt_is_used(service: Service) -> None:
    assert await service.answer("ask") == "how?"
    # As many editors write: beside the file, then over it.
    service.write("turn_ops_prompt.yaml.new", "ask: why?")
    (service.folder / "turn_ops_prompt.yaml.new").replace(service.folder / "turn_ops_prompt.yaml")
    await service.logged("reloaded in .*: turn_ops_prompt.yaml changed")

    assert await service.answer("ask") == "why?"


async def test_a_module_that_an_op_imports_later_is_watched_as_well(service: Service) -> None:
    assert await service.answer("later") == "late"
    await anyio.sleep(1.5)
    service.write("turn_later.py", "TEXT = 'later'")
    await service.logged("reloaded in .*: turn_later.py changed")

    assert await service.answer("later") == "later"


async def test_a_new_module_is_seen_and_what_an_editor_leaves_is_not(service: Service) -> None:
    for name in (".turn_ops.py.swp", "turn_ops.py~", "#turn_ops.py#", ".#turn_ops.py", "notes.txt"):
        service.write(name, "x")
    await anyio.sleep(1.5)
    assert "reloaded" not in service.log
    service.write("turn_more.py", "x = 1")

    await service.logged("reloaded in .*: turn_more.py changed")


async def test_what_is_included_is_watched(tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    async with launched(tmp_path, "--reload-include", "data") as service:
        await service.logged("files are watched")
        service.write("data/deep/words.txt", "x")
        await service.logged("reloaded in .*: data/deep/words.txt changed")
        service.write("data/deep/words.txt", "y")

        await service.logged("reloaded in .*: data/deep/words.txt changed", 2)


async def test_a_run_of_the_process_before_can_be_read_on(service: Service) -> None:
    seen = ""
    async with service.client.stream("POST", f"{service.url}/tick", json={}) as response:
        async for part in response.aiter_text():
            seen += part
            if "one-2" in seen:
                break
    service.change('"one"', '"two"')
    await service.logged("reloaded in")
    last = re.findall(r"^id: ?(.+)$", seen, re.MULTILINE)[-1]
    rest = await service.client.post(
        f"{service.url}/tick", json={}, headers={"Last-Event-ID": last}
    )

    chunks = re.findall(r'"chunk": ?"(\S+) "', seen + rest.text)
    assert chunks == [f"one-{number}" for number in range(15)]
    assert rest.text.endswith("data:[DONE]\n\n")


async def test_a_changed_port_is_listened_at(tmp_path: Path) -> None:
    async with launched(tmp_path) as service:
        await service.logged("files are watched")
        before = service.url
        # The argument http.port=0 is stronger than the file; the host is as good.
        service.write("c.yaml", f"{CONFIG}\nhttp: {{host: 127.0.0.2}}\n")
        await service.logged("reloaded in")

        assert "//127.0.0.2:" in service.url
        assert service.url != before
        assert await service.answer() == "one"


async def test_the_first_ctrl_c_lets_a_stream_end(service: Service) -> None:
    async with service.client.stream("POST", f"{service.url}/tick", json={}) as response:
        parts = response.aiter_text()
        body = await anext(parts)
        os.killpg(service.process.pid, signal.SIGINT)
        async for part in parts:
            body += part

    assert body.endswith("data:[DONE]\n\n")
    assert "one-14" in body
    assert await service.exit_code() == 0
    assert service.pids() == set()


async def test_the_second_ctrl_c_ends_all_at_once(service: Service) -> None:
    service.change("count: int = 15", "count: int = 300")
    await service.logged("reloaded in")
    async with service.client.stream("POST", f"{service.url}/tick", json={}) as response:
        await anext(response.aiter_text())
        os.killpg(service.process.pid, signal.SIGINT)
        await service.logged("stopping: ")
        await anyio.sleep(0.2)
        os.killpg(service.process.pid, signal.SIGINT)
        began = time.monotonic()

        assert await service.exit_code() == 130
        assert time.monotonic() - began < 15
    assert service.pids() == set()


async def test_a_supervisor_that_is_killed_leaves_nothing(service: Service) -> None:
    service.change("count: int = 15", "count: int = 20")
    await service.logged("reloaded in")
    async with service.client.stream("POST", f"{service.url}/tick", json={}) as response:
        parts = response.aiter_text()
        body = await anext(parts)
        assert len(service.pids()) == 3  # one supervises, one retires, one serves
        os.kill(service.process.pid, signal.SIGKILL)
        async for part in parts:
            body += part

    assert "one-19" in body
    with anyio.fail_after(15):
        while service.pids():
            await anyio.sleep(0.05)
    assert [*service.temporary.iterdir()] == []


async def test_a_process_that_dies_is_started_again_by_a_change(service: Service) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await service.answer("die")
    await service.logged("the service ended with exit code 3; it starts again when a file changes")
    service.change('"one"', '"two"')
    await service.logged("reloaded in")

    assert await service.answer() == "two"


async def test_several_workers_are_refused(tmp_path: Path) -> None:
    async with launched(tmp_path, "http.workers=2") as service:
        await service.logged("waiting for a change")

        assert "set http.workers=1 for as long as --reload is used" in service.log


async def test_a_long_start_is_given_up_when_there_is_a_newer_version(service: Service) -> None:
    service.change("import os\n", "import os, time\ntime.sleep(60)\n")
    with anyio.move_on_after(10):
        while len(service.pids()) < 3:
            await anyio.sleep(0.02)
    service.change('"one"', '"two"')
    service.change("time.sleep(60)\n", "\n")
    await service.logged("reloaded in")

    assert await service.answer() == "two"


async def test_settings_are_those_of_the_first_start(tmp_path: Path) -> None:
    async with launched(tmp_path, "http.max_body_bytes=10") as service:
        await service.logged("files are watched")
        service.change('"one"', '"two"')
        await service.logged("reloaded in")
        answer = await service.client.post(f"{service.url}/say", json={"x": "y" * 100})

        assert answer.status_code == 413
        assert json.loads(answer.content)["code"] == "body_too_large"
