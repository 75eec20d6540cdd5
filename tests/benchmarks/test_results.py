from __future__ import annotations

import json
import os
from collections.abc import Mapping

import pytest
from benchmarks import machine, report
from benchmarks.chart import chart
from benchmarks.load import Load
from benchmarks.peer import all_peers
from benchmarks.report import (
    BEGIN,
    END,
    HOW_TO_READ,
    document,
    task_report,
    write_into_document,
)
from benchmarks.results import TaskResults, as_json, from_json, verdicts
from benchmarks.server import Server
from benchmarks.summary import summary
from benchmarks.task import Figure, Target

PEERS = all_peers()


class Made:
    id = "T0"
    title = "made up"
    figures = (Figure("rate", "throughput", "chunks/s", "higher"),)
    reference = "fastapi"
    targets = (Target("rate", 5, of="fastapi"), Target("rate", 100))
    upstream = False

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        raise NotImplementedError


def made(ours: list[float], theirs: list[float]) -> TaskResults:
    rounds = {"flowcore": ours, "fastapi": theirs}
    return TaskResults(Made(), {name: [{"rate": n} for n in each] for name, each in rounds.items()})


def test_ratios_are_taken_within_a_round():
    # The machine is twice as fast in the last two rounds; the ratio stays.
    results = made([50, 100, 100], [10, 20, 20])

    assert results.ratio("flowcore", "fastapi", "rate") == 5
    assert [verdict.met for verdict in verdicts(results)] == [True, True]


def test_a_target_that_is_missed_in_most_rounds_is_not_met():
    results = made([49, 51, 49], [10, 10, 10])

    assert [verdict.met for verdict in verdicts(results)] == [False, False]
    assert verdicts(results)[0].wanted == 50


def test_the_table_tells_of_medians_spreads_ratios_targets_and_failures():
    results = made([50, 52, 51], [10, 10, 10])
    results.failures["quart"] = "in round 1: the server ended"

    text = task_report(results, PEERS)

    assert "| flowcore                   | 51 (50 to 52)        | 5.10" in text
    assert "wanted at least 50 (5 x FastAPI + uvicorn, by hand): **met**" in text
    assert "- Quart on Hypercorn, by hand failed: in round 1: the server ended" in text


def test_the_report_tells_of_rounds_that_were_disturbed():
    results = made([50, 51], [10, 10])
    results.rounds["flowcore"] = [{"rate": 50, "disturbed": 1.0}, {"rate": 51, "disturbed": 0.0}]

    text = task_report(results, PEERS)

    assert "- flowcore: something else had the cores for some time in 1 of 2 rounds" in text
    assert "- FastAPI + uvicorn, by hand: something" not in text


def test_a_ratio_of_a_disturbed_round_is_marked_in_its_own_cell():
    results = made([50, 52, 51], [10, 10, 10])
    results.rounds["quart"] = [{"rate": 10}, {"rate": 10}, {"rate": 10, "disturbed": 0.0}]

    assert "disturbed" not in task_report(results, PEERS)
    assert "disturbed" not in summary([results], PEERS)

    results.rounds["flowcore"][1] = {"rate": 52, "disturbed": 1.0}
    text = task_report(results, PEERS)

    assert "| 5.10 (1 of 3 disturbed)" in text
    assert "| 1.00    " in text
    assert "| 51 (5.10 x, 1 of 3 disturbed) |" in summary([results], PEERS)

    # It is half of each ratio.
    results.rounds["fastapi"][0] = {"rate": 10, "disturbed": 1.0}
    text = task_report(results, PEERS)

    assert "| 5.10 (2 of 3 disturbed)" in text
    assert text.count("| 1.00 (1 of 3 disturbed)") == 2


def test_the_summary_names_the_targets_whose_peer_was_not_measured():
    failed = made([50], [])
    failed.failures["fastapi"] = "in round 1: the server ended"

    text = summary([TaskResults(Made(), {"flowcore": [{"rate": 500}]}), failed], PEERS)

    assert "### The targets: 1 of 2 met, 2 not measured" in text
    assert "| not measured: needs peer fastapi  |" in text
    assert "| not measured: peer fastapi failed |" in text

    text = summary([TaskResults(Made(), {"fastapi": [{"rate": 10}]})], PEERS)

    assert text.count("not measured: needs peer flowcore") == 2
    assert "### The targets: 0 of 0 met, 2 not measured" in text


def test_the_summary_counts_the_targets_and_sets_each_figure_beside_fastapi():
    missed = made([40, 60, 40], [10, 10, 10])

    text = summary([made([50, 52, 51], [10, 10, 10]), missed], PEERS)

    assert "### The targets: 1 of 4 met" in text
    assert "at least 50 (5 x FastAPI + uvicorn, by hand) | **not met**" in text
    assert "chunks/s | higher | 10              | 51 (5.10 x) |" in text


def test_a_summary_of_one_peer_has_no_comparison():
    assert "by hand" not in summary([TaskResults(Made(), {"flowcore": [{"rate": 500}]})], PEERS)


def test_a_target_without_its_peer_is_left_out():
    results = made([50], [])

    assert [verdict.target.of for verdict in verdicts(results)] == [None]
    assert "flowcore" in task_report(results, PEERS)


def test_the_chart_has_a_bar_for_each_peer_and_a_line_for_the_target():
    svg = chart([made([50], [10])], PEERS)

    assert svg.count("<rect") == 2
    assert svg.count("<line") == 1


def test_a_later_run_replaces_the_tables_and_nothing_else(tmp_path, monkeypatch):
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    monkeypatch.setattr(report, "DOCUMENT", document)

    write_into_document("new")

    assert document.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def test_the_document_has_its_markers():
    text = report.DOCUMENT.read_text(encoding="utf-8")

    assert text.index(BEGIN) < text.index(END)


def test_what_was_saved_gives_the_same_report_again():
    results = made([50, 52, 51], [10, 10, 10])
    results.failures["quart"] = "in round 1: the server ended"
    saved = json.loads(json.dumps({"T0": as_json(results), "T-1, which is no more": {}}))

    (again,) = from_json({"T0": Made()}, saved)

    assert task_report(again, PEERS) == task_report(results, PEERS)


def test_the_document_tells_of_the_machine_and_how_to_read_the_tables():
    peers = {"fastapi": {"title": "FastAPI", "settings": "as it comes", "versions": {}}}

    text = document({"cores": "2", "peers": peers, "tasks": {}}, "the sum", "the tables")

    ends = ["### Settings", "- FastAPI: as it comes"]
    parts = ["- cores: 2", "the sum", HOW_TO_READ, "the tables", *ends]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize(("load", "told"), [(0.9, "0.45 per core"), (1.2, "WARNING")])
def test_a_machine_that_is_busy_already_is_warned_of(load, told, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)

    assert told in machine.other_load()
    assert ("WARNING" in machine.other_load()) == (load > 1)
