"""`flowcore chat` in a real terminal."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from .conftest import CHAT
from .terminal import ALT_ENTER, CTRL_C, CTRL_D, ENTER, UP, Terminal

Start = Callable[..., Terminal]


@pytest.fixture
def start(project: Path, environment: Mapping[str, str]) -> Iterator[Start]:
    """Start the command with arguments, in a terminal."""
    started: list[Terminal] = []

    def start(*arguments: str, extra: Mapping[str, str] | None = None, **size: int) -> Terminal:
        terminal = Terminal([*CHAT, *arguments], project, {**environment, **(extra or {})}, **size)
        started.append(terminal)
        terminal.wait_for_prompt()
        return terminal

    yield start
    for terminal in started:
        terminal.close()


def test_what_was_said_before_goes_along_with_the_next_question(start: Start):
    chat = start("-c", "talk")

    assert "'one' after []" in chat.ask("one")
    assert """'two' after ['one', "'one' after []"]""" in " ".join(chat.ask("two").split())

    chat.type(CTRL_D)
    assert chat.end() == 0


def test_ctrl_c_stops_the_answer_and_its_run_and_not_the_program(start: Start, project: Path):
    chat = start("-c", "talk")
    chat.type("wait" + ENTER)
    chat.wait_for("I am waiting")

    chat.type(CTRL_C)

    assert "stopped" in chat.wait_for_prompt()
    assert (project / "cancelled").exists()
    assert "'more' after ['wait', 'I am waiting']" in chat.ask("more")
    chat.type("/exit" + ENTER)
    assert chat.end() == 0


def test_a_failure_is_shown_with_its_id_and_is_no_part_of_the_conversation(start: Start):
    chat = start("-c", "talk", columns=120)

    shown = chat.ask("fail")

    assert "Half an" in shown
    assert re.search(r"^Error: ValueError: on fire \(error id [0-9a-f]{12}\)$", shown, re.MULTILINE)
    assert "ERROR flowcore: run" in shown
    assert "'more' after []" in chat.ask("more")


def test_thinking_tool_calls_markdown_and_usage_are_laid_out(start: Start):
    chat = start("-c", "talk")

    lines = chat.ask("think").splitlines()

    begin = lines.index("hmm, let me see")
    assert lines[begin : begin + 7] == [
        *("hmm, let me see", "", '→ search({"query": "tea"})', ""),
        *("Tea", "", "It is hot."),
    ]
    assert re.fullmatch(r"1,200 tokens in · 34 tokens out · .* s · first after .* s", lines[-3])


def test_a_long_answer_scrolls_by_with_every_line_once(start: Start):
    chat = start("-c", "talk", rows=12)

    shown = chat.ask("count")

    numbers = [int(number) for number in re.findall(r"line-(\d+)-", shown)]
    assert numbers == [*range(1, 101)]


def test_a_terminal_that_changes_its_size_shows_every_word_once(start: Start):
    chat = start("-c", "talk", columns=80, rows=24)
    chat.type("slow" + ENTER)
    chat.wait_for("word-9-")

    chat.resize(columns=100, rows=30)
    shown = chat.wait_for_prompt()

    assert [int(number) for number in re.findall(r"word-(\d+)-", shown)] == [*range(40)]


def test_what_is_typed_during_an_answer_is_the_next_question(start: Start):
    chat = start("-c", "talk")
    chat.type("slow" + ENTER)
    chat.wait_for("word-5-")

    chat.type("later")
    shown = chat.wait_for("> later")

    assert shown.count("later") == 1


def test_a_line_can_be_cleared_and_have_more_lines(start: Start):
    chat = start("-c", "talk")

    chat.type("wrong")
    chat.wait_for("> wrong")
    chat.type(CTRL_C)
    chat.wait_for_prompt()
    chat.type(CTRL_C)
    assert "Ctrl-D or /exit leaves." in chat.wait_for("Ctrl-D or")

    chat.wait_for_prompt()
    chat.type(f"a{ALT_ENTER}b{ENTER}")
    assert r"'a\nb' after []" in chat.wait_for("after []")


def test_what_was_typed_is_kept_for_the_next_conversation_and_for_nobody_else(
    start: Start, tmp_path: Path
):
    first = start("-c", "talk")
    first.ask("remember me")
    first.type(CTRL_D)
    first.end()

    second = start("-c", "talk")
    second.type(UP)

    second.wait_for("> remember me")
    assert (tmp_path / "state/flowcore/chat_history").stat().st_mode & 0o077 == 0


def test_a_history_that_is_no_file_is_done_without(start: Start, tmp_path: Path):
    (tmp_path / "state/flowcore/chat_history").mkdir(parents=True)
    chat = start("-c", "talk")

    assert "'one' after []" in chat.ask("one")


def test_a_history_that_cannot_be_written_any_more_ends_no_conversation(
    start: Start, tmp_path: Path
):
    chat = start("-c", "talk")
    file = tmp_path / "state/flowcore/chat_history"
    file.unlink()
    file.mkdir()

    assert "'one' after []" in chat.ask("one")


def test_a_model_cannot_steer_the_terminal(start: Start):
    chat = start("-c", "talk")

    shown = chat.ask("escape")

    assert "safe \ufffd]0;owned\ufffd\ufffd[2J \ufffd[31m end" in shown
    assert b"\x1b]0;" not in chat.raw
    assert b"\x1b[2J" not in chat.raw


def test_without_colours_there_are_none(start: Start):
    chat = start("-c", "talk", extra={"NO_COLOR": "1"})

    chat.ask("think")
    chat.ask("fail")

    assert re.findall(rb"\x1b\[(?:\d+;)*(?:[349][0-7]|38;[\d;]+|48;[\d;]+)m", chat.raw) == []


def test_other_inputs_are_asked_for_once_and_again_if_they_are_wrong(start: Start):
    chat = start("trip", "-c", "talk", columns=100)

    chat.type("one" + ENTER)
    chat.wait_for("days:")
    chat.type("soon" + ENTER)
    assert "days: Input should be a valid integer" in chat.wait_for_prompt()

    chat.type("two" + ENTER)
    chat.wait_for("\ndays:", 2)
    chat.type("3" + ENTER)
    chat.wait_for("\ndays: 3")
    assert "'two' after []" in chat.wait_for_prompt()
    assert "'three' after" in chat.ask("three")


def test_a_server_is_conversed_with_in_the_same_way(start: Start, server: str, project: Path):
    chat = start("--url", server)

    assert "'one' after []" in chat.ask("one")
    chat.type("wait" + ENTER)
    chat.wait_for("I am waiting")
    chat.type(CTRL_C)

    assert "stopped" in chat.wait_for_prompt()
    chat.wait_for_prompt()
    assert "'two' after ['one'" in chat.ask("two")
    assert (project / "cancelled").exists()


def test_without_an_input_there_is_no_conversation(project: Path, environment: Mapping[str, str]):
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join([*CHAT, '-c', 'talk'])} <&-"],
        cwd=project,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "there is no standard input" in done.stderr
