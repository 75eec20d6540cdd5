"""A process that is told to end, is killed, loses its log, or has its clock set."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from flowcore_http import StreamCutError, SyncHttpClient
from tests.faults.client import SECONDS, until
from tests.faults.conftest import Start
from tests.faults.models import TEXT, Models
from tests.faults.server import COMMAND, PROJECT, Server, environment, new_key
from tests.ports import reserved_port


def status_of(server: Server, path: str) -> int:
    """The status of a GET over a connection of its own; 0 if nobody accepts it."""
    try:
        return httpx.get(server.url + path, headers={"Connection": "close"}).status_code
    except httpx.TransportError:
        return 0


# --- the end ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_signal_streams_finish_new_work_is_refused_and_the_exit_code_is_0(
    start: Start, key: str, number: signal.Signals
):
    with start("http.drain_timeout=10") as server:
        with server.open("trickle", key=key, count=10, pause=0.1) as stream:
            stream.chunk()
            server.process.send_signal(number)
            until(lambda: status_of(server, "/ready") in {0, 503})
            assert status_of(server, "/health") in {0, 503}
            told = stream.told()
        assert (told.text, told.code) == ("0 1 2 3 4 5 6 7 8 9 ", "")
        assert told.done
        assert server.process.wait(SECONDS) == 0
    # Ops end before what they use is closed.
    ended = server.reports(key, "ended")[0]
    closed = [r for r in server.reports("", "ended", "lifespan") if r["pid"] == ended["pid"]]
    assert ended["at"] < closed[0]["at"]


def test_streams_that_outlast_the_drain_end_with_an_error_chunk_and_the_end_mark(
    start: Start, models: Models, key: str
):
    with start("http.drain_timeout=0.5") as server:
        with (
            server.open("quiet", key=key) as quiet,
            server.open("ask", key=f"{key}-model", model="hang-mid-stream") as asking,
        ):
            quiet.chunk()
            asking.chunk()
            began = time.monotonic()
            server.process.terminate()
            for stream in (quiet, asking):
                told = stream.told()
                assert (told.code, told.done) == ("shutting_down", True)
        assert server.process.wait(SECONDS) == 0
        assert time.monotonic() - began < SECONDS
    assert server.events(key) == ["started", "cancelled", "ended"]
    until(lambda: models.requests(f"{key}-model")[0].gone_at)
    closed = server.reports("", "ended", "lifespan")
    assert server.reports(key, "ended")[0]["at"] < max(r["at"] for r in closed)


def test_idle_connections_do_not_hold_up_the_end(start: Start):
    with start("http.drain_timeout=20", "http.keep_alive_timeout=20") as server:
        silent = server.connect()
        kept = httpx.Client(base_url=server.url)
        kept.get("/health")
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(SECONDS) == 0
        assert time.monotonic() - began < SECONDS
        silent.close()
        kept.close()


def test_a_second_signal_ends_all_within_a_second(start: Start, key: str):
    with start("http.drain_timeout=30") as server, server.open("quiet", key=key) as stream:
        stream.chunk()
        server.process.send_signal(signal.SIGINT)
        until(lambda: status_of(server, "/ready") in {0, 503})
        time.sleep(0.2)  # a signal within a tenth of a second is taken for an echo
        began = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(SECONDS) == 130
        assert time.monotonic() - began < 5
    assert server.events(key) == ["started", "cancelled", "ended"]


def test_a_client_can_tell_a_killed_server_from_a_finished_stream(start: Start, key: str):
    with start() as server, SyncHttpClient(server.url, reconnects=1) as client:
        chunks = iter(client.execute_stream_flow("quiet", key=key))
        assert next(chunks)["content"] == "first"
        pid = server.reports(key, "started")[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(StreamCutError):
            next(chunks)


# --- the log ---


@pytest.mark.parametrize("lost", ["closed pipe", "full disk"])
def test_a_service_that_can_no_longer_write_its_log_goes_on(
    models: Models, tmp_path: Path, workers: int, lost: str
):
    with reserved_port() as port:
        command = [COMMAND, "config=faults", f"http.port={port}"]
        if workers > 1:
            command.append(f"http.workers={workers}")
        env = environment(tmp_path, FAULTS_UPSTREAM=models.base_url)
        if lost == "full disk":
            with open("/dev/full", "wb") as full:  # noqa: PTH123
                process = subprocess.Popen(command, cwd=PROJECT, env=env, stdout=full, stderr=full)
        else:
            process = subprocess.Popen(
                command, cwd=PROJECT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            assert process.stdout is not None
            assert process.stdout.readline()
            process.stdout.close()
        try:
            server = Server(process, tmp_path, port, workers)
            until(lambda: status_of(server, "/health") == 200, 10)
            for _ in range(5):
                assert server.run("raise", key=new_key()).code == "op_failed"
            assert server.run("echo", texts=["still here"]).text == "still here"
        finally:
            process.terminate()
            assert process.wait(10) == 0


# --- the clock ---


def test_deadlines_and_heartbeats_do_not_care_when_the_clock_is_set(start: Start, key: str):
    with start("imports=[fault_ops, leaping_clock]") as server:
        told = server.run("trickle", key=key, count=3, pause=0.5)
        assert (told.text, told.code) == ("0 1 2 ", "")
        assert told.comments >= 3
        assert server.run("late_start", key=key).code == "first_chunk_timeout"
        assert server.run("ask", key=f"{key}-1", model="retry-after-seconds").text == TEXT
        hasty = server.run("ask_hasty", key=f"{key}-2", model="hang-mid-stream")
        assert (hasty.text, hasty.code) == (TEXT, "upstream_timeout_idle")
