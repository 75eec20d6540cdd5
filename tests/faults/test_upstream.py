"""A model server that fails in every way; what the client of the flow is told, and how often."""

from __future__ import annotations

import re
import threading
import time

import pytest

from tests.faults.client import until
from tests.faults.models import TEXT, Models
from tests.faults.server import CANARY, Server
from tests.tries import is_within


def test_a_good_model_is_streamed_to_its_end(server: Server, key: str):
    told = server.run("ask", key=key, model="good")
    assert (told.text, told.code, told.done) == (TEXT, "", True)
    assert server.events(key) == ["started", "finished", "ended"]


# --- before the first token ---


@pytest.mark.parametrize(
    ("model", "code", "attempts"),
    [
        ("status-400", "upstream_rejected", 1),
        ("status-401", "upstream_auth", 1),
        ("status-403", "upstream_auth", 1),
        ("status-404", "upstream_not_found", 1),
        ("status-429", "upstream_rate_limited", 3),
        ("status-500", "upstream_error", 3),
        ("status-503", "upstream_error", 3),
        ("reset-at-once", "upstream_reset", 3),
        ("error-in-200", "upstream_error", 1),
        ("error-document-in-200", "upstream_error", 1),
        ("page", "upstream_invalid", 1),
    ],
)
def test_a_model_that_refuses_is_told_once_after_exactly_so_many_attempts(
    server: Server, models: Models, key: str, model: str, code: str, attempts: int
):
    told = server.run("ask", key=key, model=model)
    assert [chunk["chunk_type"] for chunk in told.chunks] == ["error"]
    assert (told.code, told.done) == (code, True)
    assert len(models.requests(key)) == attempts
    assert server.events(key) == ["started", "raised", "ended"]


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("status-400", 502, "upstream_rejected"),
        ("status-401", 502, "upstream_auth"),
        ("status-500", 502, "upstream_error"),
        ("cut", 502, "upstream_truncated"),
    ],
)
def test_a_flow_without_a_stream_answers_the_failure_of_a_model_with_a_status(
    server: Server, key: str, model: str, status: int, code: str
):
    answer = server.post("ask_whole", key=key, model=model)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "model", ["status-429-once", "status-500-once", "status-503-once", "reset-at-once-once"]
)
def test_a_model_that_recovers_before_the_first_token_is_asked_again(
    server: Server, models: Models, key: str, model: str
):
    told = server.run("ask", key=key, model=model)
    assert (told.text, told.code) == (TEXT, "")
    assert len(models.requests(key)) == 2


def test_a_connection_that_is_refused_is_an_error_chunk_and_502(server: Server, key: str):
    told = server.run("ask_nobody", key=key, model="good")
    assert (told.code, told.done) == ("upstream_unreachable", True)
    answer = server.post("ask_nobody_whole", key=key, model="good")
    assert (answer.status_code, answer.json()["code"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize("flow", ["ask_unknown_host", "ask_without_tls"])
def test_a_host_that_is_unknown_or_speaks_no_tls_is_an_error_chunk(
    server: Server, models: Models, key: str, flow: str
):
    told = server.run(flow, key=key, model="good")
    assert (told.code, told.done) == ("upstream_unreachable", True)
    assert models.requests(key) == []


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("retry-after-seconds", 1.0),
        # A date has no fractions of a second: of two seconds, at least one is left.
        ("retry-after-date", 0.9),
        ("retry-after-negative", 0.0),
        ("retry-after-junk", 0.0),
    ],
)
def test_a_model_that_asks_to_wait_is_waited_for_and_asked_once_more(
    server: Server, models: Models, key: str, model: str, least: float
):
    def seconds(own: str) -> float:
        began = time.monotonic()
        told = server.run("ask", key=own, model=model)
        took = time.monotonic() - began
        assert (told.text, told.code) == (TEXT, "")
        assert len(models.requests(own)) == 2
        assert took >= least
        return took

    assert is_within(least + 2, seconds, key)


def test_a_model_that_asks_to_wait_for_an_hour_fails_at_once(
    server: Server, models: Models, key: str
):
    def seconds(own: str) -> float:
        began = time.monotonic()
        told = server.run("ask", key=own, model="retry-after-an-hour")
        took = time.monotonic() - began
        assert told.error
        assert told.code == "upstream_rate_limited"
        assert "3600" in told.error["chunk"]
        assert len(models.requests(own)) == 1
        return took

    assert is_within(2, seconds, key)


def test_a_redirect_to_another_host_is_not_followed_with_the_key(
    server: Server, models: Models, key: str
):
    told = server.run("ask", key=key, model="redirect")
    assert told.code == "upstream_rejected"
    assert len(models.requests(key)) == 1


def test_a_key_that_the_model_repeats_is_shown_to_nobody(server: Server, key: str):
    told = server.run("ask", key=key, model="echoes-the-key")
    assert told.code == "upstream_auth"
    assert told.error
    assert "***" in told.error["chunk"]
    assert CANARY not in str(told.chunks)
    assert CANARY not in server.log()


def test_an_error_body_without_end_costs_neither_time_nor_memory(
    server: Server, models: Models, key: str
):
    before = server.census().resident_bytes
    began = time.monotonic()
    told = server.run("ask_hasty", key=key, model="endless-error")
    assert told.code == "upstream_error"
    assert time.monotonic() - began < 10
    until(lambda: all(request.gone_at for request in models.requests(key)))
    assert server.census().resident_bytes - before < 30_000_000


@pytest.mark.parametrize("model", ["endless-line", "endless-tool-call", "endless-document"])
def test_an_answer_without_end_is_cut_off_before_it_fills_the_memory(
    server: Server, models: Models, key: str, model: str
):
    before = server.census().resident_bytes
    told = server.run("ask", key=key, model=model)
    assert told.code == "upstream_invalid"
    until(lambda: all(request.gone_at for request in models.requests(key)))
    assert server.census().resident_bytes - before < 200_000_000


# --- after the first token ---


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("reset", "upstream_reset"),
        ("cut", "upstream_truncated"),
        ("cut-body", "upstream_reset"),
        ("bad-json", "upstream_invalid"),
        ("bad-utf-8", "upstream_invalid"),
        ("status-inside", "upstream_error"),
    ],
)
def test_a_model_that_fails_after_the_first_token_is_never_asked_again(
    server: Server, models: Models, key: str, model: str, code: str
):
    told = server.run("ask", key=key, model=model)
    assert (told.text, told.code, told.done) == (TEXT, code, True)
    assert len(models.requests(key)) == 1


def test_what_the_model_server_reports_is_told_without_a_traceback(server: Server, key: str):
    mark = len(server.log())
    told = server.run("ask", key=key, model="error-in-200")
    assert told.error
    assert "the model is on holiday" in told.error["chunk"]
    logged = server.log()[mark:]
    assert told.error["metadata"]["error_id"] in logged
    assert "Traceback" not in logged


# --- hangs ---


@pytest.mark.parametrize(
    ("flow", "model", "text", "code"),
    [
        ("ask_hasty", "hang-before-headers", "", "upstream_timeout_first_token"),
        ("ask_hasty", "hang-before-first-token", "", "upstream_timeout_first_token"),
        ("ask_hasty", "hang-behind-comments", "", "upstream_timeout_first_token"),
        ("ask_hasty", "hang-mid-stream", TEXT, "upstream_timeout_idle"),
        ("ask_hasty", "hang-mid-stream-behind-comments", TEXT, "upstream_timeout_idle"),
        ("ask_brief", "hang-before-headers", "", "upstream_timeout_total"),
        ("ask_brief", "hang-mid-stream", TEXT, "upstream_timeout_total"),
    ],
)
def test_a_model_that_hangs_ends_with_the_deadline_it_broke(
    server: Server, models: Models, key: str, flow: str, model: str, text: str, code: str
):
    began = time.monotonic()
    told = server.run(flow, key=key, model=model)
    assert (told.text, told.code, told.done) == (text, code, True)
    assert time.monotonic() - began < 5
    until(lambda: models.requests(key)[0].gone_at, what="the request to the model is closed")


def test_a_model_that_never_ends_is_ended_by_the_total_timeout(server: Server, key: str):
    told = server.run("ask_brief", key=key, model="never-ends")
    assert told.code == "upstream_timeout_total"
    assert told.text.startswith("on on on ")


def test_a_model_that_hangs_is_504_for_a_flow_without_a_stream(server: Server, key: str):
    answer = server.post("ask_hasty_whole", key=key, model="hang-before-headers")
    assert (answer.status_code, answer.json()["code"]) == (504, "upstream_timeout_first_token")


def test_a_model_slower_than_the_heartbeat_has_heartbeats_before_its_text(server: Server, key: str):
    told = server.run("ask", key=key, model="thinks-long")
    assert (told.text, told.code) == (TEXT, "")
    assert told.comments >= 4


# --- odd but right ---


@pytest.mark.parametrize(
    "model",
    ["byte-by-byte", "drip", "crlf", "cr", "bom", "no-space", "odd-deltas"],
)
def test_a_stream_however_it_is_written_and_split_is_the_same_text(
    server: Server, key: str, model: str
):
    told = server.run("ask", key=key, model=model)
    assert (told.text, told.code) == (TEXT, "")


@pytest.mark.parametrize(
    "model", ["reasoning-content", "reasoning", "empty-reasoning-beside-content"]
)
def test_reasoning_is_kept_apart_and_no_text_is_lost(server: Server, key: str, model: str):
    told = server.run("ask", key=key, model=model)
    assert (told.of("think"), told.text, told.code) == (["Hm"], TEXT, "")


@pytest.mark.parametrize("model", ["tool-call", "tool-call-byte-by-byte"])
def test_a_tool_call_is_whole_however_it_is_split(server: Server, key: str, model: str):
    told = server.run("ask", key=key, model=model)
    assert told.text == "I search. "
    assert told.of("tool") == [
        {"id": "call_1", "name": "search", "arguments": '{"query": "d\\u00e9j\\u00e0 \\"vu\\""}'}
    ]


def test_an_emoji_that_the_model_splits_over_two_deltas_is_joined(server: Server, key: str):
    assert server.run("ask", key=key, model="split-emoji").text == "a \U0001f600 b"


@pytest.mark.parametrize(
    ("model", "reason"), [("cut-by-length", "length"), ("cut-by-filter", "content_filter")]
)
def test_an_answer_that_the_model_cut_says_so_in_its_metadata(
    server: Server, key: str, model: str, reason: str
):
    told = server.run("ask", key=key, model=model)
    usage = [chunk for chunk in told.chunks if chunk["chunk_type"] == "usage"]
    assert told.text == TEXT
    assert usage[-1]["metadata"]["finish_reason"] == reason


# --- the pool ---


def test_a_full_pool_is_an_error_of_its_own_and_503(server: Server, models: Models, key: str):
    # Two connections for each process: of so many calls, one finds none.
    keys = [f"{key}-{number}" for number in range(2 * server.workers + 1)]
    streams = [server.open("ask_narrow", key=own, model="hang-mid-stream") for own in keys]
    codes = [stream.chunk()["metadata"].get("code") for stream in streams]
    assert set(codes) == {None, "upstream_busy"}

    def refused() -> bool:
        answer = server.post("ask_narrow_whole", key=key, model="good")
        return (answer.status_code, answer.json().get("code")) == (503, "upstream_busy")

    until(refused)
    for stream in streams:
        stream.leave()
    for own in keys:
        until(lambda own=own: all(request.gone_at for request in models.requests(own)))


def test_after_many_cancelled_calls_the_pool_is_empty_and_serves_again(
    server: Server, models: Models, key: str
):
    keys = [f"{key}-{number}" for number in range(100)]

    def leave(own: str) -> None:
        with server.open("ask", key=own, model="hang-mid-stream") as stream:
            stream.chunk()

    threads = [threading.Thread(target=leave, args=[own]) for own in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in keys:
        until(lambda own=own: models.requests(own)[0].gone_at, what="the request is closed")
    for _ in range(4):
        told = server.run("ask_narrow", key=key, model="good")
        assert (told.text, told.code) == (TEXT, "")


def test_no_place_of_a_small_pool_is_lost_to_cancelled_calls(
    server: Server, models: Models, key: str
):
    for number in range(10):
        with server.open("ask_narrow", key=f"{key}-{number}", model="hang-mid-stream") as stream:
            stream.chunk()
        until(lambda n=number: models.requests(f"{key}-{n}")[0].gone_at)
    assert server.run("ask_narrow", key=key, model="good").text == TEXT


def test_a_tool_that_the_model_invents_is_not_run(server: Server, key: str):
    told = server.run("ask_tool", key=key, model="unknown-tool")
    assert told.error
    assert re.search(r"os\.system", told.error["chunk"])
