"""Ctrl-C in a terminal, while a command runs ops."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import os
    import select
    import signal
    import subprocess
    import time
    from collections.abc import Callable, Generator, Sequence
    from contextlib import contextmanager
    from functools import partial
    from pathlib import Path

    import pytest

    from .chat.terminal import CTRL_C, PATIENCE, Terminal

    FLOWCORE = [sys.executable, "-m", "flowcore"]
    STOPPING = "stopping; a second Ctrl-C ends at once"
    OPS = """
import sys, time
import anyio
from flowcore import BaseAsyncOp, BaseOp, C

def say(what):
    print(what, file=sys.stderr, flush=True)

@C.register_op()
class PoliteOp(BaseAsyncOp):
    async def async_execute(self):
        say("begun")
        await anyio.sleep(600)

@C.register_op()
class StubbornOp(BaseAsyncOp):
    async def async_execute(self):
        say("begun")
        with anyio.CancelScope(shield=True):
            await anyio.sleep(600)

@C.register_op()
class BusyOp(BaseAsyncOp):
    async def async_execute(self):
        say("begun")
        while True:
            time.sleep(0.01)

@C.register_op()
class SleepOp(BaseOp):
    talks: bool = True

    def execute(self):
        if self.talks:
            self.context.add_stream_text_sync("some words")
            time.sleep(0.1)
        open("begun", "w").close()
        time.sleep(600)

@C.register_op()
class BurstOp(BaseAsyncOp):
    async def async_execute(self):
        while True:
            await self.context.add_stream_text("much " * 1000)
"""
    CONFIG = """
imports: [interrupted_ops_xyz]
deadlines: {cleanup: 600}
flow:
  polite: {flow_content: PoliteOp()}
  stubborn: {flow_content: StubbornOp()}
  busy: {flow_content: BusyOp()}
  sleep: {flow_content: SleepOp(), stream: true}
  quiet: {flow_content: SleepOp(talks=False)}
  burst: {flow_content: BurstOp(), stream: true}
"""
    SLOW_IMPORT = """
import sys, threading, time
threading.Thread(target=time.sleep, args=[600]).start()
print("importing", file=sys.stderr, flush=True)
time.sleep(600)
"""
    COMMANDS = {
        "call": ["call", "FLOW", "-c", "my"],
        "batch": ["batch", "FLOW", "in.jsonl", "-o", "out.jsonl", "-c", "my"],
    }

    @pytest.fixture(autouse=True)
    def project(write: Callable[[str, str], Path]) -> None:
        write("interrupted_ops_xyz.py", OPS)
        write("my.yaml", CONFIG)
        write("in.jsonl", "{}")

    def command_of(name: str, flow: str) -> list[str]:
        return [*FLOWCORE, *(flow if word == "FLOW" else word for word in COMMANDS[name])]

    # Programs in the background of a shell script ignore SIGINT, and so do their children.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)

    @contextmanager
    def terminal(command: Sequence[str]) -> Generator[Terminal]:
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
        terminal = Terminal(command, Path.cwd(), environment)
        try:
            yield terminal
        finally:
            terminal.close()

    @pytest.mark.parametrize("name", COMMANDS)
    def test_the_first_interrupt_asks_for_a_clean_end(name: str) -> None:
        with terminal(command_of(name, "polite")) as running:
            running.wait_for("begun")
            running.type(CTRL_C)

            assert running.end() == 130
            assert STOPPING in running.lines
            assert ("interrupted: 0 of 1 rows are done" in running.text) is (name == "batch")

    @pytest.mark.parametrize("flow", ["stubborn", "busy"])
    @pytest.mark.parametrize("name", COMMANDS)
    def test_the_second_ends_what_does_not_let_itself_be_stopped(name: str, flow: str) -> None:
        with terminal(command_of(name, flow)) as running:
            running.wait_for("begun")
            running.type(CTRL_C)
            running.wait_for(STOPPING)
            running.type(CTRL_C)

            assert running.end() == 130
            assert STOPPING in running.lines
            assert b"\x1b[?25h" in running.raw[-20:]
            assert "Traceback" not in running.text

    @pytest.mark.parametrize(
        "command",
        [
            *(["call", "polite"], ["chat", "polite"], ["batch", "polite", "in.jsonl", "-o", "out"]),
            ["check"],
            ["serve", "http.port=0"],
        ],
        ids=lambda command: command[0],
    )
    def test_one_ends_a_command_that_still_imports(
        write: Callable[[str, str], Path], command: list[str]
    ) -> None:
        write("interrupted_ops_xyz.py", SLOW_IMPORT)
        option = ["config=my"] if command[0] in {"check", "serve"} else ["-c", "my"]
        with terminal([*FLOWCORE, *command, *option]) as running:
            running.wait_for("importing")
            running.type(CTRL_C)

            assert running.end() == 130
            assert "".join(running.lines) == "importing^C"

    @pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", ">&-", ">/dev/full", "reader"])
    @pytest.mark.parametrize("name", COMMANDS)
    def test_one_is_enough_where_nobody_reads(name: str, closed: str) -> None:
        script = 'exec "$@"' if closed == "reader" else f'exec "$@" {closed}'
        reading, writing = os.pipe()
        with subprocess.Popen(
            ["sh", "-c", script, "sh", *command_of(name, "quiet" if ">/" in closed else "sleep")],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=listen,  # noqa: PLW1509 - it takes no lock
        ) as process:
            try:
                os.close(writing)
                deadline = time.monotonic() + PATIENCE
                while not Path("begun").exists():
                    assert time.monotonic() < deadline, "no op has begun"
                    time.sleep(0.01)
                os.close(reading)
                process.send_signal(signal.SIGINT)

                assert process.wait(PATIENCE) == 130
                assert process.stderr is not None
                assert "Traceback" not in process.stderr.read()
            finally:
                process.kill()

    def test_the_second_does_not_wait_for_a_reader() -> None:
        reading, writing = os.pipe()
        command = command_of("call", "burst")
        with subprocess.Popen(
            command,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=listen,  # noqa: PLW1509 - it takes no lock
        ) as process:
            try:
                deadline = time.monotonic() + PATIENCE
                while select.select([], [writing], [], 0)[1]:
                    assert time.monotonic() < deadline, "the pipe is not full"
                    time.sleep(0.01)
                assert process.stderr is not None
                process.send_signal(signal.SIGINT)
                assert process.stderr.readline() == f"{STOPPING}\n"
                process.send_signal(signal.SIGINT)

                assert process.wait(PATIENCE) == 130
                assert process.stderr.read() == ""
            finally:
                process.kill()
                os.close(reading)
                os.close(writing)
