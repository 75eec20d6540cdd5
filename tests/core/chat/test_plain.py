"""`flowcore chat` in a pipe."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from .conftest import CHAT

Pipe = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def pipe(project: Path, environment: Mapping[str, str]) -> Pipe:
    """Send lines to the command with arguments."""

    def pipe(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CHAT, *arguments],
            cwd=project,
            env=environment,
            input=text,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return pipe


def test_each_line_is_a_question_and_answers_are_plain(pipe: Pipe):
    done = pipe("one\n\ntwo\n/new\nescape\n/exit\nnever\n", "-c", "talk")

    first = "'one' after []"
    assert done.stdout.splitlines() == [
        first,
        f"'two' after {['one', first]}",
        "safe \ufffd]0;owned\ufffd\ufffd[2J &#27;[31m end",
    ]
    assert done.stderr == ""
    assert done.returncode == 0


def test_thinking_tools_and_usage_do_not_get_into_the_answers(pipe: Pipe):
    done = pipe("think\n", "-c", "talk")

    assert done.stdout == "# Tea\n\nIt is **hot**.\n"
    assert '[tool] {"id": "1"' in done.stderr


def test_a_failure_is_told_and_the_next_question_answered(pipe: Pipe):
    done = pipe("fail\nmore\n", "-c", "talk")

    assert done.stdout == "Half an \n'more' after []\n"
    assert "Error: ValueError: on fire (error id " in done.stderr
    assert done.returncode == 1


def test_other_inputs_have_to_be_given(pipe: Pipe):
    missing = pipe("one\n", "trip", "-c", "talk")
    given = pipe("one\n", "trip", "days=3", "-c", "talk")

    assert missing.returncode == 2
    assert "the flow also needs days=…" in missing.stderr
    assert given.stdout == "'one' after []\n"


def test_a_server_answers_as_well(pipe: Pipe, server: str):
    done = pipe("one\ntwo\n", "--url", server)

    assert done.stdout.splitlines()[0] == "'one' after []"
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tlak", "-c", "talk"], "unknown flow 'tlak'; did you mean 'talk'?"),
        (["talk", "days", "-c", "talk"], "written as key=value, not 'days'"),
        (["--url", "ftp://x"], "URLs that begin with 'ftp'"),
    ],
)
def test_wrong_arguments_are_refused(pipe: Pipe, arguments: list[str], said: str):
    done = pipe("one\n", *arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
