"""Ops that raise, hang, flood, emit what they may not, and will not end."""

from __future__ import annotations

import time

import pytest

from tests.faults.client import until
from tests.faults.server import Server, new_key
from tests.tries import is_within

SEPARATORS = "a\nb\rc\r\nd\0e\x1bf\x7fg\u0085h\u2028i\u2029j\ufeffk\x0bl\x0cm\x1cn\x1do\x1ep"
TEXTS = [
    SEPARATORS,
    "\ufeffBOM first",
    "data:[DONE]\n\ndata: x\n\nid: 1\nevent: error\nretry: 0\n: comment",
    "[DONE]",
    "\n",
    "\r\n\r\n",
    " leading and trailing ",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea e\u0301",
    "\u202eright to left\u202c \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "\uffff\ufffe\U0010ffff",
    '{"json": "in text", "chunk": "\\ud83d"}',
    "</script><!--",
]


# --- ops that raise ---


@pytest.mark.parametrize("before", [0, 3])
def test_an_op_that_raises_is_one_error_chunk_right_before_the_end_mark(
    server: Server, key: str, before: int
):
    told = server.run("raise", key=key, before=before, message="the disk is full")
    assert told.error
    assert told.text == "".join(f"{n} " for n in range(before))
    assert (told.code, told.done) == ("op_failed", True)
    assert "the disk is full" in told.error["chunk"]
    assert told.error["metadata"]["op"] == "raise_op"
    assert told.error["metadata"]["error_id"] in server.log()


def test_an_op_that_raises_in_a_flow_without_a_stream_is_500_with_the_id_of_the_log(
    server: Server, key: str
):
    answer = server.post("raise_whole", key=key)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["error_id"] in server.log()


def test_the_connection_serves_on_after_a_failed_stream(server: Server, key: str):
    with server.open("raise", key=key) as stream:
        assert stream.told().code == "op_failed"
        stream.sock.sendall(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        assert stream.sock.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_no_traceback_and_no_path_of_the_server_reaches_the_client(server: Server, key: str):
    answer = server.post("raise", key=key).text + server.post("raise_whole", key=key).text
    assert "Traceback" not in answer
    assert "fault_ops.py" not in answer
    assert "site-packages" not in answer


def test_a_branch_that_raises_cancels_its_siblings_and_waits_for_their_cleanup(
    server: Server, key: str
):
    told = server.run("branches", key=key, before=2, cleanup=0.2)
    assert (told.code, told.done) == ("op_failed", True)
    assert told.error
    assert "it broke" in told.error["chunk"]
    assert "ExceptionGroup" not in told.error["chunk"]
    # All of them ended before the client was told of the end.
    assert len(server.reports(key, "ended")) == 3
    assert server.events(key, op="cleanup_op")[-2:] == ["cancelled", "ended"]
    assert "cleaned" in server.events(key, op="cleanup_op")


def test_a_group_of_one_exception_is_told_as_that_exception(server: Server, key: str):
    told = server.run("group", key=key)
    assert told.error
    assert "ValueError: the one cause" in told.error["chunk"]


def test_an_op_that_calls_for_the_end_of_the_process_ends_its_run_only(server: Server, key: str):
    told = server.run("exit", key=key)
    assert (told.code, told.done) == ("run_failed", True)
    assert server.process.poll() is None


# --- ops that emit when they may not ---


def test_what_an_op_emits_after_its_done_chunk_is_dropped_and_logged_once(server: Server, key: str):
    mark = len(server.log())
    told = server.run("late", key=key)
    assert (told.text, told.done, told.code) == ("in time", True, "")
    assert server.log()[mark:].count("dropped") == 1


def test_what_an_op_emits_after_its_cancellation_is_dropped(server: Server, key: str):
    with server.open("protest", key=key) as stream:
        stream.chunk()
    server.wait_for(key, "ended")
    assert server.events(key) == ["started", "protested", "cancelled", "ended"]


def test_an_empty_chunk_is_not_sent(server: Server):
    assert server.run("echo", texts=["", "a", "", "b", ""]).of("answer") == ["a", "b"]


# --- ops that will not end ---


def test_an_op_that_blocks_the_loop_is_shown_in_the_log_and_breaks_no_other_stream(
    server: Server, key: str
):
    others = [server.open("trickle", key=f"{key}-{n}", count=20, pause=0.03) for n in range(3)]
    mark = len(server.log())
    told = server.run("block", key=key, seconds=0.7)
    assert told.of("answer") == ["first", "second"]
    # stall_warning is 0.3 seconds: the log shows the line that blocks.
    until(lambda: "fault_ops.py" in server.log()[mark:], what="a warning with the stack")
    for other in others:
        with other:
            assert other.told().text == "".join(f"{n} " for n in range(20))


def test_an_op_that_emits_for_ever_without_another_await_is_cancelled(server: Server, key: str):
    def seconds(own: str) -> float:
        with server.open("spin", key=own) as stream:
            for _ in range(1000):
                stream.chunk()
            # Meanwhile the server answers others.
            assert server.run("echo", texts=["a"]).text == "a"
            left = time.monotonic()
        return server.wait_for(own, "cancelled") - left

    assert is_within(1, seconds, key)


def test_a_cancelled_sync_op_is_left_to_itself_and_holds_nobody_up(server: Server, key: str):
    with server.open("sync_block", key=key, seconds=1.0):
        server.wait_for(key, "started")
    assert server.run("sync_count", key=f"{key}-other").text == "0 1 2 "
    assert server.events(key) == ["started"]
    server.wait_for(key, "ended")


def test_no_more_sync_ops_run_at_once_than_the_pool_has_threads(server: Server, key: str):
    # thread_pool_max_workers is 4 for each process.
    limit = 4 * server.workers
    keys = [f"{key}-{number}" for number in range(2 * limit)]
    streams = [server.open("sync_block", key=own, seconds=0.3) for own in keys]
    for stream in streams:
        with stream:
            assert stream.told().done
    times = [
        (report["at"], 1 if report["event"] == "started" else -1)
        for own in keys
        for report in server.reports(own)
    ]
    running = most = 0
    for _, step in sorted(times):
        running += step
        most = max(most, running)
    assert most <= limit


@pytest.mark.parametrize(
    ("flow", "code", "before"),
    [
        ("late_start", "first_chunk_timeout", ""),
        ("late_chunk", "idle_timeout", "first"),
        ("late_end", "total_timeout", "0 1 2 "),
    ],
)
def test_each_deadline_of_a_run_has_its_own_code_and_cancels_the_op(
    server: Server, key: str, flow: str, code: str, before: str
):
    began = time.monotonic()
    told = server.run(flow, key=key, count=100, pause=0.1)
    assert time.monotonic() - began < 5
    assert (told.code, told.done) == (code, True)
    assert told.text.startswith(before)
    server.wait_for(key, "ended")
    assert server.events(key) == ["started", "cancelled", "ended"]


def test_a_deadline_is_504_for_a_flow_without_a_stream(server: Server, key: str):
    answer = server.post("late_answer", key=key)
    assert (answer.status_code, answer.json()["code"]) == (504, "total_timeout")
    server.wait_for(key, "ended")


@pytest.mark.parametrize("leaves", [True, False])
def test_an_op_that_ignores_its_cancellation_is_abandoned_and_named_in_the_log(
    server: Server, key: str, leaves: bool
):
    mark = len(server.log())
    if leaves:
        with server.open("swallow", key=key, seconds=5) as stream:
            stream.chunk()
    else:
        told = server.run("deaf", key=key, seconds=5)
        assert (told.code, told.done) == ("idle_timeout", True)
    # The cleanup deadline is one second, and the op goes on for longer.
    until(lambda: "swallow_op" in server.log()[mark:], what="a line in the log")
    until(lambda: all(count["runs"] == 0 for count in server.census().values()))
    assert "ended" not in server.events(key)
    server.wait_for(key, "ended")


def test_a_cleanup_beyond_its_deadline_does_not_hold_the_run(server: Server, key: str):
    with server.open("cleanup", key=key, cleanup=5) as stream:
        stream.chunk()
    until(lambda: all(count["runs"] == 0 for count in server.census().values()))
    assert "cleaned" not in server.events(key)
    server.wait_for(key, "ended")


# --- payloads ---


@pytest.mark.parametrize("payload", ["object", "number", "none"])
def test_a_payload_that_cannot_be_sent_is_an_error_that_names_the_op(
    server: Server, key: str, payload: str
):
    told = server.run("odd", key=key, payload=payload)
    assert told.error
    assert (told.text, told.code, told.done) == ("before ", "chunk_error", True)
    assert "'odd_op'" in told.error["chunk"]


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        ("nan", {"value": "NaN"}),
        ("infinity", ["Infinity"]),
        ("set", {"a set": [1]}),
        ("surrogate", "half \ufffd of it"),
        ("nested surrogate", {"text": ["\ufffd"]}),
    ],
)
def test_a_payload_that_json_does_not_know_is_sent_as_the_nearest_that_it_knows(
    server: Server, key: str, payload: str, sent: object
):
    assert server.run("odd", key=key, payload=payload).of("answer") == ["before ", sent, "after"]


def test_bytes_that_are_no_text_do_not_kill_the_stream(server: Server, key: str):
    told = server.run("odd", key=key, payload="bytes")
    assert told.done
    assert told.text.startswith("before ")


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_of_any_characters_is_one_event_and_comes_back_unchanged(server: Server, text: str):
    assert server.run("echo", texts=[text, "end"]).of("answer") == [text, "end"]


def test_a_huge_text_comes_whole_in_chunks_of_bounded_size(server: Server, key: str):
    told = server.run("count", key=key, count=1, size=50_000_000)
    assert len(told.text) == 50_000_000
    # max_chunk_bytes
    assert max(len(chunk) for chunk in told.of("answer")) <= 4 * 1024 * 1024
    assert (told.done, told.code) == (True, "")


def test_100000_tiny_chunks_come_in_order_and_quickly(server: Server, key: str):
    began = time.monotonic()
    told = server.run("count", key=key, count=100_000, size=1)
    seconds = time.monotonic() - began
    assert told.text == "".join(f"{n} " for n in range(100_000))
    assert seconds < 60


def test_a_lone_chunk_is_not_held_back_to_be_sent_with_others(server: Server, key: str):
    def seconds(number: int) -> float:
        own = f"{key}-{number}"
        with server.open("quiet", key=own) as stream:
            stream.chunk()
            return time.monotonic() - server.wait_for(own, "started")

    # Reading the report takes some of that, and a busy machine makes most of them late.
    assert any(seconds(number) < 0.02 for number in range(30))


# --- flows of the other kind ---


def test_the_answer_of_a_flow_that_streams_nothing_is_its_one_chunk(server: Server):
    assert server.run("answer_stream").of("answer") == ["the whole answer"]


def test_a_flow_without_a_stream_answers_with_what_its_op_streamed(server: Server, key: str):
    answer = server.post("count_whole", key=key, count=3, size=1)
    assert answer.json() == {"answer": "0 1 2 ", "success": True, "metadata": {}}


def test_50_streams_at_once_do_not_mix(server: Server):
    keys = [new_key() for _ in range(50)]
    streams = [server.open("echo", key=own, texts=[own] * 20) for own in keys]
    told = [stream.told() for stream in streams]
    for stream in streams:
        stream.leave()
    assert [t.of("answer") for t in told] == [[own] * 20 for own in keys]
    assert len({t.chunks[0]["flow_id"] for t in told}) == 50
    assert all(t.done for t in told)


def test_after_all_this_no_run_is_left(server: Server):
    until(lambda: all(count["runs"] == 0 for count in server.census().values()), 10)
