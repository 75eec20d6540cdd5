from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from flowcore import (
    BaseAsyncOp,
    BatchError,
    BatchReport,
    ChunkEnum,
    Flow,
    FlowApp,
    FlowcoreError,
    FlowResponse,
    FlowStreamChunk,
    UnknownNameError,
    run_batch,
)
from flowcore.batch.journal import Journal
from flowcore.batch.result_file import MAX_ROWS
from flowcore.batch.rows import RowReader
from flowcore.input_schema import InputField

FLOW = "square"


class SquareOp(BaseAsyncOp):
    async def async_execute(self):
        n = self.context.n
        if n < 0:
            raise ValueError("negative")
        await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"{n}² = "))
        await self.context.add_stream_chunk(FlowStreamChunk(chunk=str(n * n)))
        usage = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3, "model": "m"}
        await self.context.add_stream_chunk(
            FlowStreamChunk(chunk_type=ChunkEnum.USAGE, chunk=usage)
        )


class GiveUpOp(BaseAsyncOp):
    async def async_execute(self):
        self.context.response.answer = {"partly": self.context.n}
        self.context.response.success = False
        self.context.response.metadata["usage"] = {"prompt_tokens": 4, "completion_tokens": 3}


class Gate:
    def __init__(self) -> None:
        self.event = anyio.Event()
        self.inside = self.most = 0


class GateOp(BaseAsyncOp):
    """Waits for its gate, and counts how many do."""

    gate: ClassVar[Gate]

    async def async_execute(self):
        gate = GateOp.gate
        gate.inside += 1
        gate.most = max(gate.most, gate.inside)
        await gate.event.wait()
        gate.inside -= 1
        self.context.response.answer = str(self.context.n)


FLOWS: Mapping[str, Any] = {
    FLOW: Flow(FLOW, SquareOp(), input_schema={"n": InputField(type="integer")}),
    "give_up": GiveUpOp(),
    "gate": GateOp(),
}


@asynccontextmanager
async def opened(**config: Any) -> AsyncGenerator[FlowApp]:
    GateOp.gate = Gate()
    async with FlowApp(config, flows=FLOWS) as app:
        yield app


def write_rows(*rows: object, name: str = "in.jsonl") -> str:
    Path(name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return name


def numbers(*values: int) -> str:
    return write_rows(*({"n": value} for value in values))


def results(name: str = "out.jsonl") -> dict[int, dict[str, Any]]:
    """Return the results of a file by row; none may be there twice."""
    if not Path(name).exists():
        return {}
    lines = Path(name).read_text(encoding="utf-8").splitlines(keepends=True)
    assert all(line.endswith("\n") for line in lines)
    found = [json.loads(line) for line in lines]
    by_row = {result["row"]: result for result in found}
    assert len(by_row) == len(found)
    return by_row


def failures() -> dict[int, dict[str, Any]]:
    return results("out.failed.jsonl")


def answers() -> dict[int, Any]:
    return {row: result["answer"] for row, result in results().items()}


def codes() -> dict[int, str]:
    return {row: result["error"]["code"] for row, result in failures().items()}


async def batch(app: FlowApp, source: str = "in.jsonl", flow: str = FLOW, **options: Any):
    with anyio.fail_after(30):
        return await run_batch(app, flow, source, "out.jsonl", **options)


# --- results


async def test_each_row_gets_a_line_with_its_answer() -> None:
    async with opened() as app:
        report = await batch(app, numbers(3, 4))

    assert answers() == {1: "3² = 9", 2: "4² = 16"}
    result = results()[1]
    assert [*result] == [
        "row",
        "flow",
        "flow_id",
        "answer",
        "metadata",
        "usage",
        "seconds",
        "crc32",
    ]
    assert result["flow"] == FLOW
    assert len(result["flow_id"]) == 32
    assert result["usage"] == {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
    assert 0 <= result["seconds"] < 30
    assert (report.total, report.answered, report.failed, report.tokens) == (2, 2, 0, 6)
    assert (report.done, report.left) == (2, 0)
    assert not Path("out.failed.jsonl").exists()


async def test_a_result_repeats_the_inputs_if_that_is_asked_for() -> None:
    async with opened() as app:
        await batch(app, write_rows({"n": 3, "id": "é"}, {"n": -1, "id": 7}), with_inputs=True)

    assert results()[1]["inputs"] == {"n": 3, "id": "é"}
    assert failures()[2]["inputs"] == {"n": -1, "id": 7}


async def test_a_row_that_fails_is_told_apart_and_the_others_go_on() -> None:
    async with opened() as app:
        report = await batch(app, numbers(1, -1, 2))

    assert set(results()) == {1, 3}
    error = failures()[2]["error"]
    assert (error["code"], error["message"]) == ("op_failed", "ValueError: negative")
    assert error["op"] == "square_op"
    assert len(error["error_id"]) == 12
    assert (report.answered, report.failed) == (2, 1)
    assert report.failures == Path("out.failed.jsonl")


async def test_an_answer_without_success_is_a_failure_that_keeps_the_answer() -> None:
    async with opened() as app:
        report = await batch(app, numbers(1), flow="give_up")

    assert codes() == {1: "unsuccessful"}
    assert failures()[1]["answer"] == {"partly": 1}
    assert failures()[1]["usage"] == {"prompt_tokens": 4, "completion_tokens": 3}
    assert (report.failed, report.tokens) == (1, 7)


# --- the input


class Pieces(io.BytesIO):
    """A stream of which a read returns no more than a few bytes, as of a pipe."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        del size
        return super().read(self._size)


async def test_a_bad_row_is_a_failure_of_that_row_and_lines_keep_their_numbers() -> None:
    rows = [
        b'\xef\xbb\xbf{"n": 1}\r', b"", b"  \t\r", b"{n: 2}", b"[1]", b'"text"', b"null", b"true",
        b"17", b'{"n": NaN}', b'{"n": "\xff"}', b'{"n": "one"}', b"{}", b' {"n": 3} ', b'{"n": 4}',
    ]  # fmt: skip
    Path("in.jsonl").write_bytes(b"\n".join(rows))

    async with opened() as app:
        report = await batch(app)

    assert set(results()) == {1, 14, 15}
    invalid = dict.fromkeys(range(4, 12), "invalid_row")
    assert codes() == {**invalid, 12: "invalid_input", 13: "invalid_input"}
    messages = {row: result["error"]["message"] for row, result in failures().items()}
    assert messages[4].startswith("the line is not JSON: ")
    assert "holds a list" in messages[5]
    assert "holds a text" in messages[6]
    assert "holds null" in messages[7]
    assert "holds a boolean" in messages[8]
    assert "holds a number" in messages[9]
    assert messages[11] == "the line is not UTF-8 (byte 8)"
    assert "n: Input should be a valid integer" in messages[12]
    assert (report.total, report.failed) == (13, 10)


def test_a_line_that_is_too_long_is_read_in_bounded_memory_and_fails_alone() -> None:
    stream = io.BytesIO(b'{"a": "' + b"x" * 300_000 + b'"}\n{"a": 1}\n')
    reader = RowReader(stream, "in.jsonl", max_bytes=1000)

    rows = []
    while (block := reader.read()) is not None:
        rows += block
        assert len(reader._line) <= 1000

    assert [(row.number, row.is_cut, len(row.text)) for row in rows] == [
        (1, True, 1000),
        (2, False, 8),
    ]
    with pytest.raises(Exception, match="longer than 1000 bytes"):
        rows[0].inputs()


def test_a_row_of_exactly_the_largest_size_is_taken() -> None:
    reader = RowReader(io.BytesIO(b'{"a":12}\n{"a":123}'), "in.jsonl", max_bytes=8)

    assert [(row.text, row.is_cut) for row in reader.read() or []] == [(b'{"a":12}', False)]
    assert [row.is_cut for row in reader.read() or []] == [True]
    assert reader.read() is None


@pytest.mark.parametrize("size", range(1, 40))
def test_rows_are_the_same_however_the_input_comes_in(size: int) -> None:
    text = '\ufeff{"a": "é"}\r\n\n \n{"b": "中"}\n{"c": 1}'.encode()
    reader = RowReader(Pieces(text, size), "in.jsonl")

    rows = []
    while (block := reader.read()) is not None:
        rows += block

    assert [(row.number, row.text.decode()) for row in rows] == [
        (1, '{"a": "é"}'),
        (4, '{"b": "中"}'),
        (5, '{"c": 1}'),
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
async def test_an_input_in_another_encoding_is_refused(encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    Path("in.jsonl").write_bytes(f'{mark}{{"n": 1}}\n'.encode(encoding))

    async with opened() as app:
        with pytest.raises(BatchError, match="UTF-16; convert it to UTF-8"):
            await batch(app)


async def test_an_empty_input_has_no_rows() -> None:
    Path("in.jsonl").write_bytes(b"\n\n")

    async with opened() as app:
        report = await batch(app)

    assert (report.total, report.done, report.left) == (0, 0, 0)
    assert Path("out.jsonl").read_bytes() == b""


# --- going on


async def test_a_second_start_runs_only_rows_without_a_result() -> None:
    async with opened() as app:
        await batch(app, numbers(1, -2, 3))
        first, failed = Path("out.jsonl").read_bytes(), Path("out.failed.jsonl").read_bytes()
        report = await batch(app, numbers(1, -2, 3, 4))

    assert Path("out.jsonl").read_bytes().startswith(first)
    assert Path("out.failed.jsonl").read_bytes() == failed
    assert set(results()) == {1, 3, 4}
    assert (report.answered_before, report.failed_before) == (2, 1)
    assert (report.answered, report.failed, report.left) == (1, 0, 0)


async def test_a_limit_ends_a_start_early_and_the_next_goes_on() -> None:
    numbers(*range(5))
    async with opened() as app:
        report = await batch(app, limit=2)
        assert (report.answered, report.left) == (2, 3)
        report = await batch(app, limit=2)
        assert (report.answered, report.left) == (2, 1)
        report = await batch(app, limit=2)

    assert (report.answered, report.left) == (1, 0)
    assert set(results()) == {1, 2, 3, 4, 5}


async def test_after_as_many_failures_as_are_allowed_no_further_row_is_begun() -> None:
    async with opened() as app:
        report = await batch(app, numbers(1, -1, 2, -2, 3, -3), concurrency=1, max_failed=2)
        assert (report.answered, report.failed, report.left) == (2, 2, 2)
        report = await batch(app, concurrency=1, max_failed=2)

    assert (report.answered, report.failed, report.failed_before, report.left) == (1, 1, 2, 0)


async def test_failed_rows_are_tried_again_if_that_is_asked_for() -> None:
    async with opened() as app:
        await batch(app, numbers(1, -2, -3))
        write_rows({"n": 1}, {"n": 2}, {"n": -3})
        report = await batch(app, retry_failed=True)

    assert (report.answered, report.failed, report.failed_before) == (1, 1, 0)
    assert answers() == {1: "1² = 1", 2: "2² = 4"}
    assert set(failures()) == {3}


async def test_the_file_of_failures_goes_with_the_last_of_them() -> None:
    async with opened() as app:
        await batch(app, numbers(-1))
        assert set(failures()) == {1}
        await batch(app, numbers(1), retry_failed=True)

    assert set(results()) == {1}
    assert not Path("out.failed.jsonl").exists()


async def test_failures_may_have_a_file_of_another_name() -> None:
    async with opened() as app:
        await batch(app, numbers(-1), failures="bad.jsonl")
        report = await batch(app, numbers(-1), failures="bad.jsonl")

    assert set(results("bad.jsonl")) == {1}
    assert report.failed_before == 1


@pytest.mark.parametrize(
    ("rows", "flow", "options", "said"),
    [
        ([2, 1, 3], FLOW, {}, "line 1 of the input is not the one"),
        ([1, -2, 4], FLOW, {"retry_failed": True}, "line 3 of the input is not the one"),
        ([1, 2, 3], FLOW, {}, "line 2 .* try the failed rows again"),
        ([1, -2, 3], "gate", {}, "of flow 'square', not of 'gate'"),
    ],
)
async def test_results_of_another_input_or_flow_are_refused_and_left_as_they_are(
    rows: list[int], flow: str, options: dict[str, Any], said: str
) -> None:
    async with opened() as app:
        await batch(app, numbers(1, -2, 3))
        with Path("out.jsonl").open("ab") as file:
            file.write(b'{"row":4,')
        before = Path("out.jsonl").read_bytes(), Path("out.failed.jsonl").read_bytes()
        numbers(*rows)

        with pytest.raises(BatchError, match=said):
            await batch(app, flow=flow, **options)

    assert (Path("out.jsonl").read_bytes(), Path("out.failed.jsonl").read_bytes()) == before


async def test_white_space_around_rows_and_the_ends_of_lines_do_not_matter() -> None:
    async with opened() as app:
        await batch(app, numbers(1, 2))
        Path("in.jsonl").write_bytes(b'\xef\xbb\xbf{"n": 1}\r\n  {"n": 2}')
        report = await batch(app)

    assert (report.answered_before, report.answered) == (2, 0)


@pytest.mark.parametrize("name", ["out.jsonl", "out.failed.jsonl"])
@pytest.mark.parametrize(
    "text",
    [
        "my notes",
        "my notes\n",
        "[1]\n",
        '{"a": 1}\n',
        '{"row": 0, "flow": "square", "crc32": 1}\n',
        '{"row": 1.0, "flow": "square", "crc32": 1}\n',
        '{"row": true, "flow": "square", "crc32": 1}\n',
        f'{{"row": {MAX_ROWS + 1}, "flow": "square", "crc32": 1}}\n',
        '{"row": 1, "flow": 5, "crc32": 1}\n',
        '{"row": 1, "flow": "square", "crc32": -1}\n',
        '{"row": 1, "flow": "square", "crc32": 4294967296}\n',
    ],
)
async def test_a_file_with_something_else_is_refused_and_left_as_it_is(
    name: str, text: str
) -> None:
    Path(name).write_text(text, encoding="utf-8")

    async with opened() as app:
        with pytest.raises(BatchError, match=rf"{name}:1: the line is not a result"):
            await batch(app, numbers(1))

    assert Path(name).read_text(encoding="utf-8") == text


async def test_what_a_loss_of_power_may_leave_is_cut_off_or_told_with_the_remedy() -> None:
    async with opened() as app:
        await batch(app, numbers(1, 2))
        whole = Path("out.jsonl").read_bytes()
        lines = whole.splitlines(keepends=True)

        for rest in (b"\0" * 4096, lines[1][:20] + b"\0" * 100):
            Path("out.jsonl").write_bytes(lines[0] + rest)
            await batch(app)
            assert set(results()) == {1, 2}

        Path("out.jsonl").write_bytes(b"\0" * len(lines[0]) + lines[1])
        with pytest.raises(BatchError, match=r"truncate --size=0 out\.jsonl"):
            await batch(app)


async def test_results_that_end_after_any_byte_are_completed_to_the_same_ones(
    tmp_path: Path,
) -> None:
    async with opened() as app:
        await batch(app, numbers(1, -2, 3, -4))
        whole = {name: Path(name).read_bytes() for name in ("out.jsonl", "out.failed.jsonl")}
        expected = (set(results()), set(failures()))

        for name, content in whole.items():
            for end in range(len(content)):
                for other, text in whole.items():
                    Path(other).write_bytes(text)
                Path(name).write_bytes(content[:end])
                kept = content[: content.rfind(b"\n", 0, end) + 1]

                await batch(app)

                assert Path(name).read_bytes().startswith(kept)
                assert (set(results()), set(failures())) == expected


# --- files


async def test_two_batches_cannot_write_the_same_results() -> None:
    numbers(1)
    journal = Journal(FLOW, Path("out.jsonl"), Path("out.failed.jsonl"))
    async with opened() as app:
        try:
            with pytest.raises(BatchError, match=r"out\.jsonl is being written by another process"):
                await batch(app)
        finally:
            journal.close()
        assert (await batch(app)).answered == 1


async def test_two_batches_cannot_write_the_same_failures() -> None:
    journal = Journal(FLOW, Path("other.jsonl"), Path("bad.jsonl"))
    journal._open_failures()
    async with opened() as app:
        try:
            with pytest.raises(BatchError, match=r"bad\.jsonl is being written by another"):
                await batch(app, numbers(1), failures="bad.jsonl")
        finally:
            journal.close()


@pytest.mark.parametrize(
    ("source", "target", "failed"),
    [("a", "a", "b"), ("a", "b", "a"), ("a", "b", "b"), ("a", "b", "./b"), ("a", "link", "b")],
)
async def test_input_answers_and_failures_must_be_different_files(
    source: str, target: str, failed: str
) -> None:
    write_rows({"n": 1}, name="a")
    Path("link").hardlink_to("a")

    async with opened() as app:
        with pytest.raises(BatchError, match="must be different files"):
            await run_batch(app, FLOW, source, target, failures=failed)

    assert json.loads(Path("a").read_text(encoding="utf-8")) == {"n": 1}


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("nope.jsonl", "out.jsonl", "cannot read nope.jsonl: "),
        (".", "out.jsonl", "cannot read .: "),
        ("in.jsonl", "nope/out.jsonl", "cannot write nope.out.jsonl: "),
        ("in.jsonl", "folder", "folder is no regular file"),
    ],
)
async def test_a_file_that_cannot_be_used_is_told(source: str, target: str, said: str) -> None:
    numbers(1)
    Path("folder").mkdir()

    async with opened() as app:
        with pytest.raises(BatchError, match=said):
            await run_batch(app, FLOW, source, target)


async def test_an_unknown_flow_is_told_before_any_file_is_made() -> None:
    async with opened() as app:
        with pytest.raises(UnknownNameError, match="did you mean 'square'"):
            await batch(app, numbers(1), flow="sqare")

    assert not Path("out.jsonl").exists()


async def test_rows_beyond_what_can_be_remembered_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowcore.batch.journal.MAX_ROWS", 2)

    async with opened() as app:
        with pytest.raises(BatchError, match="more than 2 lines; split it"):
            await batch(app, numbers(1, 2, 3))


# --- running


@pytest.mark.parametrize(
    ("concurrency", "max_concurrent_runs", "most"), [(1, 100, 1), (3, 100, 3), (8, 2, 2)]
)
async def test_no_more_rows_run_at_a_time_than_are_allowed(
    concurrency: int, max_concurrent_runs: int, most: int
) -> None:
    numbers(*range(9))
    async with opened(max_concurrent_runs=max_concurrent_runs) as app:
        gate = GateOp.gate
        async with anyio.create_task_group() as group:

            async def run() -> None:
                await batch(app, flow="gate", concurrency=concurrency)

            group.start_soon(run)
            with anyio.fail_after(5):
                while gate.inside < most:
                    await anyio.lowlevel.checkpoint()
            gate.event.set()

    assert gate.most == most
    assert set(results()) == set(range(1, 10))


async def test_a_row_waits_while_others_keep_the_app_busy() -> None:
    numbers(1)
    async with opened(max_concurrent_runs=1) as app:
        async with anyio.create_task_group() as group, app.stream("gate", n=5):

            async def run() -> None:
                await batch(app)

            group.start_soon(run)
            with anyio.fail_after(5):
                while not Path("out.jsonl").exists():
                    await anyio.sleep(0)
            assert answers() == {}
            GateOp.gate.event.set()

    assert answers() == {1: "1² = 1"}


async def test_a_cancelled_batch_writes_nothing_of_the_rows_that_ran_and_goes_on() -> None:
    numbers(*range(6))
    reports: list[BatchReport] = []
    async with opened() as app:
        async with anyio.create_task_group() as group:

            async def run() -> None:
                await batch(app, flow="gate", concurrency=4, watch=reports.append)

            group.start_soon(run)
            with anyio.fail_after(5):
                while GateOp.gate.inside < 4:
                    await anyio.sleep(0)
            group.cancel_scope.cancel()
        assert not app.runs
        assert (results(), failures()) == ({}, {})
        assert reports[-1].done == 0

        GateOp.gate = Gate()
        GateOp.gate.event.set()
        await batch(app, flow="gate")

    assert set(results()) == set(range(1, 7))


async def test_what_watches_sees_every_row_and_may_stop_the_batch() -> None:
    numbers(1, -2, 3)
    seen: list[tuple[int | None, int, int, int]] = []

    def watch(report: BatchReport) -> None:
        seen.append((report.total, report.answered, report.failed, report.done))
        if report.done == 3 and len(seen) == 4:
            raise FlowcoreError("enough")

    async with opened() as app:
        with pytest.raises(FlowcoreError, match=r"^enough$"):
            await batch(app, concurrency=1, watch=watch)

    assert seen == [(3, 0, 0, 0), (3, 1, 0, 1), (3, 1, 1, 2), (3, 2, 1, 3)]
    assert (set(results()), set(failures())) == ({1, 3}, {2})


# --- on a server


class ServerError(FlowcoreError):
    def __init__(self, status: int, retry_after: float, problem: dict[str, Any]) -> None:
        super().__init__(f"answered {status}")
        self.status = status
        self.retry_after = retry_after
        self.problem = problem


class FakeClient:
    """A server, as far as a batch talks to one."""

    def __init__(self) -> None:
        self.busy = 2

    async def list_endpoints(self) -> dict[str, Any]:
        def post(media_type: str) -> dict[str, Any]:
            return {
                "requestBody": {"content": {"application/json": {"schema": {}}}},
                "responses": {"200": {"content": {media_type: {}}}},
            }

        plain, stream = post("application/json"), post("text/event-stream")
        return {"paths": {"/plain": {"post": plain}, "/stream": {"post": stream}}}

    async def execute_flow(self, flow: str, /, **inputs: Any) -> FlowResponse:
        if self.busy:
            self.busy -= 1
            raise ServerError(429, 0.001, {"code": "rate_limited"})
        if inputs["n"] < 0:
            raise ServerError(500, 0, {"code": "op_failed", "error_id": "abc", "detail": "no"})
        return FlowResponse(answer=[inputs["n"]], metadata={"m": 1})

    async def execute_stream_flow(
        self, flow: str, /, **inputs: Any
    ) -> AsyncIterator[Mapping[str, Any]]:
        yield {"type": "think", "content": "hm", "metadata": {}, "flow_id": "id"}
        yield {"type": "answer", "content": "a", "metadata": {}, "flow_id": "id"}
        if inputs["n"] < 0:
            yield {"type": "error", "content": "no", "metadata": {"code": "c", "error_id": "e"}}
            return
        yield {"type": "answer", "content": "b", "metadata": {}, "flow_id": "id"}
        yield {"type": "usage", "content": {"total_tokens": 9}, "metadata": {}, "flow_id": "id"}


async def test_a_batch_runs_a_flow_on_a_server_and_waits_where_that_is_busy() -> None:
    report = await run_batch(FakeClient(), "plain", numbers(1, -1), "out.jsonl")

    assert answers() == {1: [1]}
    assert results()[1]["metadata"] == {"m": 1}
    assert failures()[2]["error"] == {
        "code": "op_failed",
        "message": "answered 500",
        "error_id": "abc",
    }
    assert (report.answered, report.failed) == (1, 1)


async def test_a_batch_folds_the_streams_of_a_server() -> None:
    report = await run_batch(FakeClient(), "stream", numbers(1, -1), "out.jsonl")

    assert answers() == {1: "ab"}
    assert results()[1]["flow_id"] == "id"
    assert failures()[2]["error"] == {"code": "c", "message": "no", "error_id": "e"}
    assert report.tokens == 9


async def test_a_server_that_stays_busy_fails_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowcore.batch.runners.BUSY_SECONDS", -1)

    await run_batch(FakeClient(), "plain", numbers(1), "out.jsonl")

    assert failures()[1]["error"] == {"code": "rate_limited", "message": "answered 429"}


async def test_a_flow_that_the_server_does_not_have_is_told() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'plain'"):
        await run_batch(FakeClient(), "plan", numbers(1), "out.jsonl")
