"""Peers whose packages are here anyway serve as they will when they are measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from benchmarks.cores import Cores
from benchmarks.load import Load, expect_chunks
from benchmarks.peer import all_peers, read
from benchmarks.server import MeasurementError, running
from benchmarks.upstream import DELTAS, upstream

PEERS = all_peers()
WORDS = [f"word {n} " for n in range(1000)]


@pytest.mark.parametrize("name", ["flowcore", "raw_hypercorn"])
def test_a_peer_answers_as_the_tasks_expect(name):
    cores = Cores()
    load = Load(cores)
    with running(PEERS[name], Path(sys.executable), cores, {}) as server:
        expect_chunks(server, load.answer(server, server.peer.request("burst")), WORDS)
        echoed = load.answer(server, server.peer.request("echo"))

        with pytest.raises(MeasurementError, match="status 404"):
            load.answer(server, server.peer.request("nothing"))

    assert b'"what is ai"' in echoed
    assert server.process.poll() is not None


def test_flowcore_hands_on_what_the_stub_says():
    cores = Cores()
    with (
        upstream(cores) as url,
        running(PEERS["flowcore"], Path(sys.executable), cores, {"BENCH_UPSTREAM": url}) as server,
    ):
        body = Load(cores).answer(server, server.peer.request("relay"))

        expect_chunks(server, body, DELTAS)
        with pytest.raises(MeasurementError, match="1000 chunks, not 1 as expected"):
            expect_chunks(server, body, ["word 0 "])


def test_a_server_that_ends_is_told_with_what_it_printed(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("# /// script\n# [tool.bench]\n# tasks = []\n# ///\nraise SystemExit('why')")

    with pytest.raises(MeasurementError, match="the server ended: why"):
        with running(read(script), Path(sys.executable), Cores(), {}):
            pass


def test_a_server_is_ended_when_the_measurement_is_interrupted():
    started = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - raised inside the block
        with running(PEERS["raw_hypercorn"], Path(sys.executable), Cores(), {}) as server:
            started.append(server)
            raise KeyboardInterrupt

    assert started[0].process.poll() is not None
