from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from flowcore.cli import main

Write = Callable[[str, str], Path]


def test_the_exit_code_is_0_if_all_is_well(write: Write):
    write("c.yaml", "flow: {a: {flow_content: ChatOp()}}")
    result = CliRunner().invoke(main, ["doctor", "config=c", "http.port=0"])

    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "✓ ready")


def test_the_exit_code_is_1_if_there_is_a_problem(write: Write):
    write("c.yaml", "flow: {a: {flow_content: NopeOp()}}")
    result = CliRunner().invoke(main, ["doctor", "config=c", "http.port=0"])

    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "✗ not ready: 1 problem")


def test_a_model_with_a_fault_is_one_problem(write: Write):
    text = "llm: {default: {backend: openai_compatible, modle_name: x}}"
    write("c.yaml", f"flow: {{a: {{flow_content: ChatOp()}}}}\n{text}")
    result = CliRunner().invoke(main, ["doctor", "config=c", "http.port=0"])

    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "✗ not ready: 1 problem")


def test_without_a_name_it_says_whose_problems_these_are(write: Write):
    write("default.yaml", "flow: {a: {flow_content: NopeOp()}}")
    result = CliRunner().invoke(main, ["doctor", "http.port=0"])

    assert result.exit_code == 1
    assert "no config=NAME was given" in " ".join(result.stdout.split())
    assert result.stdout.endswith("for another configuration add config=NAME.\n")


def test_json_holds_all_findings(write: Write):
    write("c.yaml", "flow: {a: {flow_content: NopeOp()}}")
    result = CliRunner().invoke(main, ["doctor", "config=c", "http.port=0", "--json"])
    data = json.loads(result.stdout)

    assert result.exit_code == 1
    assert data["ready"] is False
    problem = next(finding for finding in data["findings"] if finding["level"] == "problem")
    assert set(problem) == {"section", "name", "text", "level", "advice", "origin"}


def test_a_setting_that_is_none_is_a_mistake_of_usage():
    assert CliRunner().invoke(main, ["doctor", "c.yaml"]).exit_code == 2


@pytest.mark.parametrize("arguments", [["--reload", "config=nope"], ["config=nope", "--reload"]])
def test_reload_needs_no_subcommand(arguments: list[str], monkeypatch: pytest.MonkeyPatch):
    started: list[list[str]] = []

    class Stand:
        def __init__(self, command: list[str], includes: object, say: object) -> None:
            started.append(command)

        def run(self) -> int:
            return 0

    monkeypatch.setattr("flowcore.reload.supervisor.Supervisor", Stand)

    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert started[0][-3:] == ["serve", "config=nope", "--in-turn"]
