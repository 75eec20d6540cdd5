"""Runs that outlive a connection: asked for, cancelled, and resumed without loss or repetition."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from tests.faults.client import Stream, Told, data_of, until
from tests.faults.conftest import Start
from tests.faults.server import Server
from tests.tries import is_within

NO_RUN = "0" * 32


def run_id(stream: Stream) -> str:
    return stream.response.headers["x-run-id"]


def events(blocks: list[bytes]) -> list[bytes]:
    """The events among what was read, id and data: no comments, no id with which a stream opens."""
    return [b"\n".join(b.split(b"\n")[-2:]) for b in blocks if data_of(b) is not None]


def test_the_id_of_a_run_is_long_random_and_everywhere_the_same(server: Server, key: str):
    with server.open("echo", key=key, texts=["a"]) as stream:
        told = stream.told()
        assert re.fullmatch("[0-9a-f]{32}", run_id(stream))
        assert told.chunks[0]["flow_id"] == run_id(stream)
        assert stream.last_id == f"{run_id(stream)}-2"
    assert server.post("answer").headers["x-run-id"] != run_id(stream)


def test_a_run_can_be_asked_how_it_is_doing(server: Server, key: str):
    with server.open("quiet", key=key) as stream:
        stream.chunk()
        about = httpx.get(f"{server.url}/runs/{run_id(stream)}").json()
        assert (about["state"], about["flow"]) == ("running", "quiet")
    until(lambda: httpx.get(f"{server.url}/runs/{run_id(stream)}").json()["state"] == "cancelled")


def test_a_run_that_is_told_to_stop_is_cancelled_and_its_reader_told(server: Server, key: str):
    def seconds(own: str) -> float:
        with server.open("quiet", key=own) as stream:
            stream.chunk()
            began = time.monotonic()
            answer = httpx.post(f"{server.url}/runs/{run_id(stream)}/cancel")
            assert answer.status_code in {200, 202}
            told = stream.told()
            assert (told.text, told.code, told.done) == ("first", "cancelled", True)
        cancelled = server.wait_for(own, "cancelled")
        server.wait_for(own, "ended")
        assert server.events(own) == ["started", "cancelled", "ended"]
        return cancelled - began

    assert is_within(1, seconds, key)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["", "/events", "/cancel"])
@pytest.mark.parametrize("name", [NO_RUN, "x", "..%2f..", "%00", "a" * 5000])
def test_a_run_that_nobody_knows_is_a_problem_and_nothing_more(
    server: Server, method: str, path: str, name: str
):
    answer = httpx.request(method, f"{server.url}/runs/{name}{path}")
    assert answer.status_code in {404, 405}
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_post_with_the_id_of_a_known_event_resumes_and_does_not_run_again(
    server: Server, key: str
):
    inputs = {"key": key, "count": 20, "pause": 0.03}
    with server.open("patient", **inputs) as stream:
        before = [stream.chunk()["chunk"] for _ in range(5)]
        last = stream.last_id
        stream.reset()
    with Stream(server.port, "/patient", inputs, {"Last-Event-ID": last}) as again:
        told = again.told()
    assert "".join(before) + told.text == "".join(f"{n} " for n in range(20))
    assert (told.done, told.code) == (True, "")
    assert server.events(key) == ["started", "finished", "ended"]


def test_a_post_with_the_id_of_an_unknown_event_is_404_and_runs_nothing(server: Server, key: str):
    inputs = {"key": key}
    with Stream(server.port, "/patient", inputs, {"Last-Event-ID": f"{NO_RUN}-3"}) as stream:
        assert stream.response.status == 404
        assert b"unknown_run" in stream.response.read()
    assert server.events(key) == []


def test_a_stream_cut_again_and_again_is_read_to_its_end_exactly_once(server: Server, key: str):
    blocks: list[bytes] = []
    stream = server.open("patient", key=key, count=30, pause=0.02)
    while stream.response.status == 200:
        # Four events, or what there is left.
        ended = [stream.block() for _ in range(4)][-1] is None
        blocks += stream.blocks
        last, name = stream.last_id, run_id(stream)
        stream.reset()
        if ended:
            break
        stream = server.resume(name, last)
    told = Told([b"data:" + block.partition(b"data:")[2] for block in blocks if b"data:" in block])
    assert told.text == "".join(f"{n} " for n in range(30))
    assert told.done
    assert server.events(key) == ["started", "finished", "ended"]


def test_a_finished_run_is_resumed_from_every_event_with_exactly_the_rest(server: Server, key: str):
    with server.open("echo", key=key, texts=[f"{n} " for n in range(10)]) as stream:
        stream.told()
        whole = events(stream.blocks)
    for number in range(len(whole)):
        with server.resume(run_id(stream), f"{run_id(stream)}-{number}") as rest:
            assert rest.response.status == 200
            rest.told()
            assert events(rest.blocks) == whole[number:]


def test_a_client_that_has_all_of_a_finished_run_is_told_to_stop(server: Server, key: str):
    with server.open("echo", key=key, texts=["a"]) as stream:
        stream.told()
    with server.resume(run_id(stream), stream.last_id) as rest:
        assert rest.response.status == 204


def test_a_run_whose_reader_does_not_come_back_in_time_is_cancelled(server: Server, key: str):
    def seconds(own: str) -> float:
        with server.open("patient_quiet", key=own) as stream:
            stream.chunk()
        left = time.monotonic()
        cancelled = server.wait_for(own, "cancelled")
        server.wait_for(own, "ended")
        with server.resume(run_id(stream), stream.last_id) as rest:
            assert rest.told().code == "cancelled"
        assert cancelled - left > 0.3
        return cancelled - left

    assert is_within(1.4, seconds, key)


def test_what_is_no_longer_kept_is_an_honest_gap(server: Server, key: str):
    count = 1000
    with server.open("count", key=key, count=count, size=100) as stream:
        stream.told()
    # replay.bytes_per_run is 20,000.
    with server.resume(run_id(stream), f"{run_id(stream)}-0") as rest:
        blocks = [block for block in rest.rest() if not block.startswith(b":")]
    gap = next(block for block in blocks if b"event:gap" in block)
    first, last = (
        int(re.findall(b'"%s": ?([0-9]+)' % name, gap)[0]) for name in (b"first", b"last")
    )
    numbers = [int(n) for block in blocks for n in re.findall(b'"chunk":"([0-9]+) ', block)]
    assert first == 1
    assert numbers == list(range(last, count))
    assert blocks[-1].endswith(b"data:[DONE]")


def test_beyond_the_limit_of_runs_requests_are_503_and_health_still_answers(start: Start, key: str):
    with start("max_concurrent_runs=3") as server:
        streams = [server.open("quiet", key=key) for _ in range(3 * server.workers)]
        refused = [s.response for s in streams if s.response.status != 200]
        # With several processes, those that have no place left refuse; the others do not.
        answer = server.post("quiet", key=key) if server.workers == 1 else None
        if answer is not None:
            assert (answer.status_code, answer.json()["code"]) == (503, "too_many_runs")
            assert int(answer.headers["retry-after"]) >= 1
        assert all(response.status == 503 for response in refused)
        assert httpx.get(f"{server.url}/health").status_code == 200
        for stream in streams:
            stream.leave()
        until(lambda: not any(count["runs"] for count in server.census().values()))
        assert server.run("echo", texts=["a"]).text == "a"
