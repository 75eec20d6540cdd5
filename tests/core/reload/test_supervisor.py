"""The supervisor with a service that knows nothing of handovers: one process after the other."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Write = Callable[[str, str], Path]

PLUGIN = """
import os, signal, sys, threading
from flowcore import BaseService, C

WORD = "one"

@C.register_service("plain")
class PlainService(BaseService):
    def run(self, app):
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        print(f"{WORD} begins", flush=True)
        while not ended.wait(0.05):
            pass
        print(f"{WORD} ends", flush=True)
"""


class Running:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.text = ""
        self.readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (process.stdout, process.stderr)
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, stream: Iterator[str]) -> None:
        for line in stream:
            self.text += line

    def wait_for(self, pattern: str) -> None:
        deadline = time.monotonic() + 30
        while not re.search(pattern, self.text, re.MULTILINE):
            assert time.monotonic() < deadline, f"{pattern!r} is not in\n{self.text}"
            time.sleep(0.02)


@contextmanager
def launched(*arguments: str) -> Generator[Running]:
    command = [sys.executable, "-m", "flowcore", "serve", "config=c", *arguments, "--reload"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        running = Running(process)
        try:
            yield running
        finally:
            process.terminate()
            try:
                process.wait(20)
            finally:
                process.kill()
            for reader in running.readers:
                reader.join(20)


@pytest.fixture
def running(write: Write, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    # Users have it write bytecode, which may be out of date.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    write("plain_service.py", PLUGIN)
    write("c.yaml", "imports: [plain_service]\nbackend: plain\n")
    with launched() as running:
        running.wait_for("files are watched")
        yield running


def test_a_service_that_knows_no_handover_begins_when_the_one_before_has_ended(
    running: Running, write: Write
):
    write("plain_service.py", PLUGIN.replace('"one"', '"two"'))
    running.wait_for("two begins")

    assert re.findall("^.* (?:begins|ends)$", running.text, re.MULTILINE) == [
        "one begins",
        "one ends",
        "two begins",
    ]


def test_a_module_is_loaded_anew_that_was_saved_twice_in_a_second_with_one_size(
    running: Running, write: Write
):
    before = Path("plain_service.py").stat()
    write("plain_service.py", PLUGIN.replace('"one"', '"two"'))
    os.utime("plain_service.py", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    running.wait_for("two begins")

    assert Path("plain_service.py").stat().st_size == before.st_size


def test_it_serves_on_while_its_successor_cannot_be_loaded(running: Running, write: Write):
    write("plain_service.py", "1 / 0")
    running.wait_for("not reloaded, plain_service.py changed")

    assert "one ends" not in running.text


def test_a_signal_ends_both(running: Running):
    running.process.send_signal(signal.SIGINT)

    assert running.process.wait(20) == 0
    running.wait_for("one ends")


def test_the_exit_code_of_a_service_that_fails_at_its_end_is_passed_on(write: Write):
    fails = PLUGIN.replace('print(f"{WORD} ends", flush=True)', "sys.exit(7)")
    write("plain_service.py", fails)
    write("c.yaml", "imports: [plain_service]\nbackend: plain\n")
    with launched() as running:
        running.wait_for("one begins")
        running.process.send_signal(signal.SIGTERM)

        assert running.process.wait(20) == 7


def test_settings_that_cannot_be_are_told_and_waited_on(write: Write):
    write("c.yaml", "backend: nope\n")
    with launched() as running:
        running.wait_for("the process ended with exit code 2; waiting for a change")
        os.kill(running.process.pid, signal.SIGINT)

        assert running.process.wait(20) == 0
        assert "nope" in running.text
