"""`flowcore batch` as a process: killed, interrupted, without room, with many rows."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flowcore import BatchReport
from flowcore.batch.progress import summary
from flowcore.cli import main

SCRIPT = Path(sys.executable).with_name("flowcore")
PATIENCE = 60
STOPPING = "stopping; a second Ctrl-C ends at once\n"

OPS = """
import random
import sys

import anyio
from flowcore import BaseAsyncOp, BaseOp, C, ChunkEnum, FlowStreamChunk

@C.register_op()
class CopyOp(BaseAsyncOp):
    async def async_execute(self):
        n = self.context.n
        await anyio.sleep(random.random() * self.context.get("wait", 0))
        if n % 10 == 7:
            raise ValueError(f"no {n}")
        await self.context.add_stream_chunk(FlowStreamChunk(chunk=str(n) * self.context["times"]))
        usage = FlowStreamChunk(chunk_type=ChunkEnum.USAGE, chunk={"total_tokens": 2})
        await self.context.add_stream_chunk(usage)

@C.register_op()
class BlockOp(BaseOp):
    def execute(self):
        import time
        print("blocked", file=sys.stderr, flush=True)
        time.sleep(60)

@C.register_op()
class StubbornOp(BaseAsyncOp):
    async def async_execute(self):
        said = "waits"
        while True:
            print(said, file=sys.stderr, flush=True)
            try:
                await anyio.sleep(60)
            except BaseException:
                said = "waits on"
"""

CONFIG = """
imports: [batch_ops_xyz]
flow:
  copy:
    flow_content: CopyOp()
    stream: true
    input_schema:
      n: {type: integer}
      times: {type: integer, default: 1}
  block:
    flow_content: BlockOp()
  stubborn:
    flow_content: StubbornOp()
"""


@pytest.fixture(autouse=True)
def project(write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write("batch_ops_xyz.py", OPS)
    write("my.yaml", CONFIG)
    monkeypatch.syspath_prepend(".")
    monkeypatch.setenv("FLOWCORE_LOG_LEVEL", "CRITICAL")
    yield
    sys.modules.pop("batch_ops_xyz", None)


def write_rows(numbers: Sequence[int], **more: object) -> None:
    lines = [json.dumps({"n": number, **more}) for number in numbers]
    Path("in.jsonl").write_text("\n".join(lines), encoding="utf-8")


def batch(*args: str, flow: str = "copy") -> Result:
    return CliRunner().invoke(
        main, ["batch", flow, "in.jsonl", "-o", "out.jsonl", "config=my", *args]
    )


def command(*args: str, flow: str = "copy", source: str = "in.jsonl") -> list[str]:
    return [str(SCRIPT), "batch", flow, source, "-o", "out.jsonl", "-c", "my", *args]


@contextmanager
def started(arguments: list[str], **options: Any) -> Generator[subprocess.Popen[str]]:
    if sys.platform != "win32":
        # Programs in the background of a shell script ignore SIGINT, and so do their children.
        options["preexec_fn"] = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def results(name: str = "out.jsonl") -> dict[int, dict[str, Any]]:
    """Return the results of a file by row; none may be there twice."""
    path = Path(name)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    by_row = {result["row"]: result for result in found}
    assert len(by_row) == len(found)
    return by_row


# --- what it says


def test_a_batch_says_at_its_end_what_came_of_it() -> None:
    write_rows(range(1, 10))

    first = batch()
    second = batch()

    assert (first.exit_code, second.exit_code) == (1, 1)
    assert first.stdout == ""
    said, file = first.stderr.splitlines()
    assert said.startswith("9 rows in ")
    assert said.endswith(" s: 8 answered, 1 failed, 16 tokens")
    assert file == "failures: out.failed.jsonl"
    assert second.stderr.splitlines()[0].endswith("0 answered, 0 failed, 9 done before")
    assert (len(results()), len(results("out.failed.jsonl"))) == (8, 1)


def test_a_batch_that_is_well_ends_with_0_and_a_quiet_one_says_nothing() -> None:
    write_rows([1, 2])

    assert batch("--quiet").exit_code == 0
    write_rows([1, 2, 7])
    result = batch("-q")

    assert (result.exit_code, result.output) == (1, "")


def test_a_limit_leaves_the_rest_for_the_next_start() -> None:
    write_rows([1, 2, 3])

    result = batch("--limit", "2", "-j", "1")

    assert result.exit_code == 0
    assert result.stderr.rstrip().endswith("2 answered, 0 failed, 4 tokens, 1 left")
    assert batch().exit_code == 0
    assert set(results()) == {1, 2, 3}


def test_failed_rows_are_tried_again_and_results_repeat_their_inputs() -> None:
    write_rows([7])
    assert batch().exit_code == 1
    write_rows([8])

    assert batch("--retry-failed", "--with-inputs").exit_code == 0

    assert results()[1]["inputs"] == {"n": 8}
    assert not Path("out.failed.jsonl").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "Missing argument 'FLOW'"),
        (["copy", "in.jsonl"], "Missing option '-o'"),
        (["copy", "in.jsonl", "-o", "-"], "the output must be a file"),
        (["copy", "in.jsonl", "-o", "out.jsonl", "-j", "0"], "'-j'"),
        (["copy", "in.jsonl", "-o", "out.jsonl", "config=nope"], "no config 'nope'"),
        (["kopy", "in.jsonl", "-o", "out.jsonl", "config=my"], "did you mean 'copy'?"),
        (["copy", "none.jsonl", "-o", "out.jsonl", "config=my"], "cannot read none.jsonl"),
        (["copy", "in.jsonl", "-o", "in.jsonl", "config=my"], "must be different files"),
        (["copy", "in.jsonl", "-o", "no/out.jsonl", "config=my"], "cannot write no"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_with_one_message(args: list[str], said: str) -> None:
    write_rows([1])

    result = CliRunner().invoke(main, ["batch", *args])

    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_rows_may_come_from_standard_input_one_by_one() -> None:
    with started(command(source="-"), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for number in (1, 2, 3):
            process.stdin.write(f'{{"n": {number}}}\n')
            process.stdin.flush()
            wait_for(lambda n=number: len(results()) == n)
        _, said = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0, said
    assert said.splitlines()[0].endswith("3 answered, 0 failed, 6 tokens")
    with started(command(source="-"), stdin=subprocess.PIPE) as process:
        _, said = process.communicate('{"n": 1}\n{"n": 2}\n{"n": 3}\n{"n": 4}\n', PATIENCE)
    assert "1 answered, 0 failed, 2 tokens, 3 done before" in said
    with started(command(source="-"), stdin=subprocess.PIPE) as process:
        _, said = process.communicate('{"n": 1}\n{"n": 5}\n', PATIENCE)
    assert process.returncode == 2
    assert "line 2 of the input is not the one" in said


# --- how far it is


def test_where_there_is_no_terminal_a_line_tells_now_and_then_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowcore.batch.progress._LINE_SECONDS", 0)
    write_rows([1, 7, 3])

    lines = batch("-j", "1").stderr.splitlines()

    told = [re.sub(r"[\d.]+/s, [\d.]+ s", "…", line) for line in lines]
    assert told[:3] == [
        "0 of 3 rows, 0 failed, 0.0/s",
        "1 of 3 rows, 0 failed, … left",
        "2 of 3 rows, 1 failed, … left",
    ]
    assert told[3].startswith("3 of 3 rows, 1 failed, ")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (61, "1:01 min"), (3600, "1:00:00"), (90_061, "25:01:01")],
)
def test_a_summary_tells_how_long_it_took(seconds: float, shown: str) -> None:
    report = BatchReport(total=1, answered=1, seconds=seconds)

    assert summary(report) == f"1 row in {shown}: 1 answered, 0 failed"


if sys.platform != "win32":

    def test_a_terminal_shows_a_bar_with_the_log_above_it() -> None:
        import pty

        write_rows([1, 2, 7])
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        environment["FLOWCORE_LOG_LEVEL"] = "ERROR"
        with subprocess.Popen(command("-j", "1"), stderr=theirs, env=environment) as process:
            os.close(theirs)
            shown = b""
            with suppress(OSError):  # the end of a terminal
                while data := os.read(ours, 65536):
                    shown += data
            os.close(ours)
        text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode())

        assert process.returncode == 1
        assert "3/3 1 failed" in text
        logged = [line for line in re.split(r"[\r\n]+", text) if "(error id" in line]
        assert len(logged) == 1
        assert re.match(r"\d{4}-\d\d-\d\d .* ERROR flowcore: run ", logged[0])
        assert "3 rows in " in text


# --- killed


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def size() -> int:
    names = ("out.jsonl", "out.failed.jsonl")
    return sum(Path(name).stat().st_size for name in names if Path(name).exists())


@pytest.mark.parametrize("seed", range(2))
def test_a_batch_that_is_killed_again_and_again_loses_and_repeats_no_row(seed: int) -> None:
    chance = random.Random(seed)
    rows = 400
    write_rows(range(1, rows + 1), wait=0.02, times=3000)
    kills = 0
    while kills < 12:
        before = {**results_of_whole_lines()}
        wanted = size() + chance.randrange(1, 200_000)
        with started(command("-j", "16")) as process:
            wait_for(lambda wanted=wanted: process.poll() is not None or size() >= wanted)
            process.kill()
            process.communicate(timeout=PATIENCE)
        if process.returncode in {0, 1}:
            break
        kills += 1
        after = results_of_whole_lines()
        assert {row: after.get(row) for row in before} == before
    assert kills >= 3

    done = subprocess.run(command(), capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert done.returncode == 1, done.stderr
    answered, failed = results(), results("out.failed.jsonl")
    assert sorted([*answered, *failed]) == [*range(1, rows + 1)]
    assert set(failed) == {row for row in range(1, rows + 1) if row % 10 == 7}
    assert all(result["answer"] == str(row) * 3000 for row, result in answered.items())


def results_of_whole_lines() -> dict[int, dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in ("out.jsonl", "out.failed.jsonl"):
        data = Path(name).read_bytes() if Path(name).exists() else b""
        found += [json.loads(line) for line in data.split(b"\n")[:-1]]
    by_row = {result["row"]: result for result in found}
    assert len(by_row) == len(found)
    return by_row


if sys.platform != "win32":

    def test_an_interrupt_ends_a_batch_and_says_how_to_go_on() -> None:
        write_rows([1, 2, *([3] * 20)], wait=0)
        with Path("in.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(f'\n{{"n": {n}, "wait": 1000}}' for n in range(5))
        with started(command("-j", "2")) as process:
            wait_for(lambda: len(results()) == 22)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE)

        assert process.returncode == 130
        assert said == f"{STOPPING}interrupted: 22 of 27 rows are done; the same command goes on\n"
        assert set(results()) == set(range(1, 23))

    def test_an_interrupt_waits_neither_for_the_thread_of_a_sync_op_nor_for_input() -> None:
        with started(command(flow="block", source="-"), stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write("{}\n")
            process.stdin.flush()
            assert process.stderr.readline() == "blocked\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            said = process.stderr.read()

        assert said == f"{STOPPING}interrupted: 0 rows are done; the same command goes on\n"

    def test_a_second_interrupt_ends_a_batch_whose_op_ignores_its_cancellation() -> None:
        with started(command(flow="stubborn", source="-"), stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write("{}\n")
            process.stdin.flush()
            assert process.stderr.readline() == "waits\n"
            process.send_signal(signal.SIGINT)
            assert process.stderr.readline() == STOPPING
            assert process.stderr.readline() == "waits on\n"
            process.send_signal(signal.SIGINT)

            assert process.wait(20) == 130

    def test_a_batch_without_room_for_its_results_says_so_and_goes_on_later() -> None:
        import resource

        write_rows(range(21, 27), times=1000)
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (5000, 5000))
        done = subprocess.run(
            command("-j", "1"), capture_output=True, text=True, timeout=PATIENCE, check=False,
            preexec_fn=limit,
        )  # fmt: skip

        assert done.returncode == 1
        assert done.stderr.startswith("Error: out.jsonl: File too large; ")
        assert done.stderr.endswith("2 of 6 rows are done; the same command goes on\n")
        assert set(results()) == {1, 2}
        assert batch().exit_code == 0
        assert set(results()) == {1, 2, 3, 4, 5, 6}


# --- many rows

MEASURE = """
import json, resource, sys
import anyio
from flowcore import FlowApp, run_batch
import batch_ops_xyz

UNIT = 1 if sys.platform == "darwin" else 1024

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT

async def measure():
    async with FlowApp("my") as app:
        for rows in (1_000, 10_000):
            name = f"{rows}.jsonl"
            with open(name, "w") as file:
                for n in range(rows):
                    print(json.dumps({"n": n * 10, "text": "x" * 1000}), file=file)
            for start in (1, 2):
                report = await run_batch(app, "copy", name, f"{rows}.out.jsonl", with_inputs=True)
                print(report.answered, report.answered_before, peak())

anyio.run(measure)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the peak")
def test_ten_thousand_rows_take_no_more_memory_than_a_thousand() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        capture_output=True, text=True, timeout=300, check=True,
        env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip

    measured = [[*map(int, line.split())] for line in done.stdout.splitlines()]
    assert [line[:2] for line in measured] == [[1000, 0], [0, 1000], [10_000, 0], [0, 10_000]]
    # The results alone are 13 MB, and the inputs 10.
    assert measured[-1][2] - measured[1][2] < 6_000_000
