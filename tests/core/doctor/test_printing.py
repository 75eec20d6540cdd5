from __future__ import annotations

import io
import sys

import pytest

from flowcore import Finding
from flowcore.doctor import Diagnosis
from flowcore.doctor.printing import print_diagnosis

FINDINGS = [
    Finding("models", "llm.default", "works", "ok"),
    Finding("models", "llm.other", "broken", "problem", "mend it"),
    Finding("limits", "http.heartbeat", "15 s", origin="/etc/flowcore/my.yaml:5"),
    Finding("system", "terminal", "ASCII", "warning", "set PYTHONUTF8=1"),
]


def test_a_diagnosis_reads_without_colours(capsys: pytest.CaptureFixture[str]):
    print_diagnosis(Diagnosis(FINDINGS))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    assert lines == [
        "models",
        " ✓ llm.default works",
        " ✗ llm.other   problem: broken",
        "",
        "limits",
        "   http.heartbeat 15 s my.yaml:5",
        "",
        "system",
        " ! terminal warning: ASCII",
        "",
        "to do",
        "  ✗ llm.other: broken; mend it",
        "  ! terminal: ASCII; set PYTHONUTF8=1",
        "",
        "✗ not ready: 1 problem, 1 warning",
    ]


def test_what_only_surprises_is_ready(capsys: pytest.CaptureFixture[str]):
    print_diagnosis(Diagnosis([FINDINGS[0], FINDINGS[3]]))

    assert capsys.readouterr().out.endswith("✓ ready, with 1 warning\n")


def test_control_characters_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]):
    print_diagnosis(Diagnosis([Finding("a", "b\x1b[2J", "c\x07", "problem", "d\x1b")]))

    assert not {"\x1b", "\x07"} & {*capsys.readouterr().out}


def test_a_terminal_without_such_characters_gets_plain_ones(monkeypatch: pytest.MonkeyPatch):
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    print_diagnosis(Diagnosis(FINDINGS))
    sys.stdout.flush()

    assert b" + llm.default works" in written.getvalue()
    assert b"\nx not ready: 1 problem, 1 warning" in written.getvalue()
