"""The log: no record poses as another, each names its run, a broken destination harms nobody."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowcore import BaseAsyncOp, BaseOp, ConfigError, FlowApp
from flowcore.logs import LogHandler, TextFormatter, configure, json_formatter, one_line
from flowcore.testing import collect

FORGERY = "a\n2026-01-01 00:00:00,000 ERROR root: forged\r\x1b[31m\x07\u2028\u0085\u202e\x00"
ESCAPED = r"a\n2026-01-01 00:00:00,000 ERROR root: forged\r\x1b[31m\x07\u2028\x85\u202e\x00"


def fail(text: str) -> None:
    raise ValueError(text)


class Sink:
    """Where a test's log goes: a pipe."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._out, inside = os.pipe()
        self.stream = os.fdopen(inside, "w", encoding="utf-8")
        self.handler = LogHandler(self.stream)
        self.handler.setFormatter(formatter)

    @property
    def text(self) -> str:
        """What has been written so far, after which nothing more can be."""
        self.stream.close()
        with os.fdopen(self._out, encoding="utf-8", newline="") as out:
            return out.read()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def log_to() -> Iterator[Callable[[logging.Formatter], Sink]]:
    """Return a function that lets all loggers write to a new sink."""
    root = logging.getLogger()
    sinks: list[Sink] = []

    def add(formatter: logging.Formatter) -> Sink:
        sinks.append(Sink(formatter))
        root.addHandler(sinks[-1].handler)
        return sinks[-1]

    yield add
    for sink in sinks:
        root.removeHandler(sink.handler)
        sink.stream.close()


@pytest.fixture
def text_log(log_to: Callable[[logging.Formatter], Sink]) -> Sink:
    return log_to(TextFormatter())


@pytest.fixture
def json_log(log_to: Callable[[logging.Formatter], Sink]) -> Sink:
    return log_to(json_formatter())


# --- form


def test_a_text_record_is_one_line_with_time_level_and_logger(text_log: Sink) -> None:
    logging.getLogger("some.where").warning("it is %s", "so")

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING some\.where: it is so\n", text_log.text
    )


def test_a_json_record_is_one_object_in_one_line(json_log: Sink) -> None:
    logging.getLogger("some.where").warning("it is %s", "so 中", extra={"error_id": "e1"})

    record = json_log.records[0]

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", record.pop("time"))
    assert record == {
        "level": "WARNING",
        "logger": "some.where",
        "message": "it is so 中",
        "process": os.getpid(),
        "error_id": "e1",
    }


def test_data_cannot_end_a_line_of_text_or_steer_a_terminal(text_log: Sink) -> None:
    logging.getLogger("x").warning("said %s", FORGERY)

    assert len(text_log.text.split("\n")) == 2


def test_what_is_escaped_is_shown_as_python_would() -> None:
    assert one_line(FORGERY) == ESCAPED
    assert one_line("plain 中文 text") == "plain 中文 text"


def test_data_cannot_end_a_line_of_json(json_log: Sink) -> None:
    logging.getLogger("x").warning("said %s", FORGERY, extra={"more": FORGERY})

    text = json_log.text

    assert text.count("\n") == 1
    assert text.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    assert json.loads(text)["message"] == f"said {FORGERY}"
    assert json.loads(text)["more"] == FORGERY


def test_no_line_of_a_traceback_can_pose_as_a_record(text_log: Sink) -> None:
    try:
        fail(FORGERY)
    except ValueError:
        logging.getLogger("x").exception("failed")

    first, *rest = text_log.text.removesuffix("\n").split("\n")

    assert first.endswith("ERROR x: failed")
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)
    assert any("fail(FORGERY)" in line for line in rest)
    assert all(line.isprintable() for line in rest)


def test_a_traceback_in_json_keeps_its_lines(json_log: Sink) -> None:
    try:
        fail("one\ntwo")
    except ValueError:
        logging.getLogger("x").exception("failed")

    assert json_log.records[0]["exc_info"].endswith("ValueError: one\ntwo")


class UnshowableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.mark.parametrize("formatter", [TextFormatter, json_formatter])
@pytest.mark.parametrize(
    "arguments", [("%d", "x"), ("%s %s", 1), ("%s", UnshowableError()), ("%(name)s", ["x"])]
)
def test_a_record_that_cannot_be_formatted_is_told_of(
    formatter: Callable[[], logging.Formatter], arguments: tuple[Any, ...], capfd: Any
) -> None:
    sink = Sink(formatter())

    record = logging.LogRecord("x", logging.INFO, __file__, 7, arguments[0], arguments[1:], None)
    sink.handler.handle(record)

    assert "test_logs.py:7 cannot be shown" in sink.text
    assert capfd.readouterr() == ("", "")


def test_a_huge_text_is_cut() -> None:
    assert len(one_line("a" * 1_000_000)) < 101_000


# --- runs


class LogOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        logging.getLogger("my.op").warning("hello")


class LogInThreadOp(BaseOp):
    def execute(self) -> None:
        logging.getLogger("my.op").warning("hello")


@pytest.mark.parametrize("op", [LogOp, LogInThreadOp, LogOp() | LogOp()])
async def test_what_is_logged_inside_a_run_carries_its_id_and_flow(json_log: Sink, op: Any) -> None:
    async with FlowApp({}, flows={"f": op if not isinstance(op, type) else op()}) as app:
        run = app.start("f", {})
        while await run.receive():
            pass
        await run.wait()
    logging.getLogger("my.op").warning("outside")

    *inside, outside = [record for record in json_log.records if record["logger"] == "my.op"]

    assert inside
    assert {(record["run_id"], record["flow"]) for record in inside} == {(run.id, "f")}
    assert "run_id" not in outside


async def test_a_line_of_text_names_the_run_once(text_log: Sink) -> None:
    async with FlowApp({}, flows={"f": LogOp()}) as app:
        run = app.start("f", {})
        while await run.receive():
            pass
    logging.getLogger("x").warning("about run %s", run.id, extra={"run_id": run.id, "flow": "f"})

    lines = [line for line in text_log.lines if run.id in line]

    assert lines[0].endswith(f"WARNING my.op: hello (run {run.id} of flow 'f')")
    assert lines[1].endswith(f"WARNING x: about run {run.id}")


async def test_two_runs_at_the_same_time_do_not_mix(json_log: Sink) -> None:
    class WaitOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
                logging.getLogger("my.op").warning(self.run.id)

    async with FlowApp({}, flows={"f": WaitOp()}) as app, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(collect, app, "f")

    records = [record for record in json_log.records if record["logger"] == "my.op"]

    assert len(records) == 15
    assert all(record["run_id"] == record["message"] for record in records)


class SecretOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        raise ValueError("broken\nin two")


async def test_the_error_id_of_a_failed_run_is_a_field_of_its_record(json_log: Sink) -> None:
    async with FlowApp({}, flows={"f": SecretOp()}) as app:
        result = await collect(app, "f")

    record = next(record for record in json_log.records if record.get("error_id"))

    assert record["error_id"] == result.chunks[-1].metadata["error_id"]
    assert record["level"] == "ERROR"
    assert record["flow"] == "f"
    assert "broken\nin two" in record["exc_info"]


# --- settings


@pytest.mark.parametrize(
    ("level", "kind", "said"),
    [("LOUD", "text", "FLOWCORE_LOG_LEVEL"), ("INFO", "xml", "FLOWCORE_LOG_FORMAT")],
)
def test_an_unknown_level_or_format_is_refused(level: str, kind: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        configure(level, kind)


# --- a destination that fails

LOGGING = """
import logging, sys
from flowcore.logs import configure
configure("INFO", "{kind}")
log = logging.getLogger("x")
{body}
print("still here", flush=True)
"""


def script(body: str, stderr: Any, kind: str = "text") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOGGING.format(kind=kind, body=body)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, encoding="utf-8",
    )  # fmt: skip


def test_what_python_would_print_by_itself_is_logged() -> None:
    body = """
import threading, warnings
warnings.warn("a\\nb")
def fail(): raise ValueError("c\\nd")
thread = threading.Thread(target=fail, name="e\\nf"); thread.start(); thread.join()
class Bad:
    def __del__(self): raise ValueError("g\\nh")
Bad()
"""
    process = script(body, subprocess.PIPE, "json")
    _, printed = process.communicate(timeout=60)

    records = [json.loads(line) for line in printed.splitlines()]

    assert [record["level"] for record in records] == ["WARNING", "ERROR", "ERROR"]
    assert "UserWarning: a\nb" in records[0]["message"]
    assert records[1]["exc_info"].endswith("ValueError: c\nd")
    assert records[2]["exc_info"].endswith("ValueError: g\nh")


def closed_pipe() -> int:
    out, inside = os.pipe()
    os.close(out)
    return inside


def full_disk() -> int:
    return os.open("/dev/full" if Path("/dev/full").exists() else "/dev/null", os.O_WRONLY)


@pytest.mark.parametrize("kind", ["text", "json"])
@pytest.mark.parametrize("destination", [closed_pipe, full_disk])
def test_a_closed_pipe_or_a_full_disk_harms_nobody(
    kind: str, destination: Callable[[], int]
) -> None:
    with os.fdopen(destination(), "wb") as stderr:
        process = script("for _ in range(1000): log.warning('a' * 100)", stderr, kind)
        printed, _ = process.communicate(timeout=60)

    assert (process.returncode, printed) == (0, "still here\n")


def test_a_pipe_that_nobody_reads_holds_nobody_up_and_tells_of_the_loss() -> None:
    out, inside = os.pipe()
    with os.fdopen(out, encoding="utf-8") as reader:
        with os.fdopen(inside, "wb") as stderr:
            process = script(
                """
for number in range(2000): log.warning("%d %s", number, "a" * 200)
print("logged", flush=True)
input()
log.warning("at last")
""",
                stderr,
            )
        assert process.stdout is not None
        assert process.stdout.readline() == "logged\n"
        printed: list[str] = []
        drained = threading.Event()

        def read() -> None:
            for line in reader:
                printed.append(line)
                if len(printed) == 50:
                    drained.set()

        thread = threading.Thread(target=read)
        thread.start()
        assert drained.wait(10)
        rest, _ = process.communicate("go on\n", timeout=60)
        thread.join()

    whole = [line for line in printed if re.search(r"WARNING x: \d+ a{200}\n", line)]
    assert (process.returncode, rest) == (0, "still here\n")
    assert "WARNING x: at last\n" in printed[-1]
    lost = re.search(r"WARNING flowcore: (\d+) log records were lost", printed[-2])
    assert lost is not None
    assert len(whole) + int(lost[1]) == 2000
    assert len(printed) <= len(whole) + 3  # with the one that was cut, if any


def test_a_program_without_standard_error_may_log() -> None:
    handler = LogHandler(None)
    record = logging.LogRecord("x", logging.INFO, "", 0, "hello", (), None)

    assert handler.handle(record)


@pytest.mark.parametrize("stream", [io.StringIO(), io.TextIOWrapper(io.BytesIO(), "ascii")])
def test_a_stream_that_is_no_file_is_written_to(stream: io.TextIOBase) -> None:
    handler = LogHandler(stream)  # pyright: ignore[reportArgumentType]

    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "caf\xe9", (), None))

    stream.seek(0)
    assert stream.read() in ("caf\xe9\n", "caf\\xe9\n")


# --- secrets


def test_a_secret_of_the_configuration_is_not_logged_at_any_level(write: Any) -> None:
    canary = "sk-canary-93c1f7"
    write(
        "my.yaml",
        f"llm: {{default: {{backend: openai_compatible, model_name: m, api_key: {canary}, "
        'base_url: "http://127.0.0.1:1/v1", max_retries: 0}}\n'
        "flow: {f: {flow_content: StreamChatOp(), stream: true}}\n",
    )
    done = subprocess.run(
        [sys.executable, "-m", "flowcore", "call", "f", "-c", "my", "query=x", "messages=[]"],
        env={**os.environ, "FLOWCORE_LOG_LEVEL": "DEBUG", "FLOWCORE_LOG_FORMAT": "json"},
        capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip

    records = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]

    assert [record for record in records if record["logger"] != "flowcore"]
    assert [record for record in records if record.get("error_id")]
    assert canary not in done.stdout + done.stderr
