"""The conversation itself, on a screen that is a list."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flowcore import BaseAsyncOp, C, ConfigError, FlowApp, UnknownNameError
from flowcore.calling import Printer
from flowcore.chat.partner import AppPartner
from flowcore.chat.reply import Reply
from flowcore.chat.session import COMMANDS, Session
from flowcore.schema import FlowStreamChunk

CONFIG = {
    "flow": {
        "silent": {"flow_content": "ListenOp()"},
        "listen": {"flow_content": "ListenOp()", "stream": True},
        "past": {
            "flow_content": "ListenOp()",
            "stream": True,
            "input_schema": {
                "query": {"type": "string"},
                "history": {"type": "array", "default": []},
            },
        },
        "numbers": {"flow_content": "ListenOp()", "input_schema": {"number": {"type": "integer"}}},
    }
}


class Script:
    """Enters prepared lines, and keeps what is shown."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = iter(lines)
        self.shown: list[str] = []

    async def read(self) -> str | None:
        return next(self._lines, None)

    async def read_value(self, name: str, schema: Mapping[str, Any]) -> str | None:
        return next(self._lines, None)

    @contextmanager
    def answering(self, stop: Callable[[], object]) -> Generator[Printer]:
        yield self

    def chunk(self, chunk: FlowStreamChunk) -> None:
        self.shown.append(str(chunk.chunk))

    def conclude(self, reply: Reply) -> None:
        if reply.error:
            self.shown.append(f"Error: {reply.error}")

    def say(self, text: str) -> None:
        self.shown.append(text)

    def complain(self, text: str) -> None:
        self.shown.append(f"Error: {text}")


@pytest.fixture(autouse=True)
def op() -> None:
    @C.register_op()
    class ListenOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            context = self.context
            if context.query == "fail":
                raise ValueError("on fire")
            before = context.get("messages") or context.get("history") or []
            said = " ".join(message["content"] for message in before)
            context.response.answer = f"{context.query}<{said}>" if context.query != "hush" else ""

    del ListenOp


async def converse(*lines: str, flow: str | None = None, **values: str) -> list[str]:
    """Return what is shown after the greeting."""
    script = Script(lines)
    async with FlowApp(CONFIG) as app:
        await Session(AppPartner(app), script, flow, values).run()
    return script.shown[1:]


async def test_the_first_flow_that_streams_is_asked_by_default():
    script = Script([])
    async with FlowApp(CONFIG) as app:
        session = Session(AppPartner(app), script, None, {})
        await session.run()

    assert session.flow == "listen"
    assert script.shown == ["flow 'listen' of 4. /help tells more, Ctrl-D leaves."]


@pytest.mark.parametrize("flow", ["listen", "past", "silent"])
async def test_what_was_said_before_goes_along(flow: str):
    assert await converse("a", "b", "c", flow=flow) == ["a<>", "b<a a<>>", "c<a a<> b b<a a<>>>"]


async def test_a_new_conversation_knows_nothing_of_the_old_one():
    assert await converse("a", "/new", "b") == ["a<>", "a new conversation", "b<>"]


async def test_a_retry_puts_its_answer_in_the_place_of_the_last_one():
    assert await converse("a", "b", "/retry", "c") == [
        *("a<>", "b<a a<>>", "b<a a<>>"),
        "c<a a<> b b<a a<>>>",
    ]


async def test_what_failed_or_said_nothing_is_not_remembered():
    shown = await converse("a", "fail", "hush", "b")

    assert shown[0] == "a<>"
    assert shown[1].startswith("Error: ValueError: on fire (error id ")
    assert shown[2:] == ["b<a a<>>"]


async def test_another_flow_gets_the_conversation_so_far():
    shown = await converse("a", "/flow past", "b", "/flow", "/flow psat", "/flow numbers", "/flows")

    assert shown[1:3] == ["flow 'past' of 4", "b<a a<>>"]
    assert shown[3] == "Error: name a flow; /flows lists them"
    assert "did you mean 'past'?" in shown[4]
    assert "takes no 'query', only number; use `flowcore call numbers`" in shown[5]
    assert shown[6].splitlines()[2] == "* past  query, history"


async def test_the_conversation_is_saved_to_a_new_file(tmp_path: Path):
    shown = await converse("a", "/save talk.md", "/save talk.json", "/save talk.md", "/save no/x")

    assert shown[1:3] == ["1 answer in talk.md", "1 answer in talk.json"]
    assert shown[3] == "Error: talk.md exists; choose another name"
    assert shown[4].startswith("Error: cannot write")
    assert (tmp_path / "talk.md").read_text() == "## You\n\na\n\n## Answer\n\na<>\n"
    assert json.loads((tmp_path / "talk.json").read_text()) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "a<>"},
    ]


async def test_what_begins_with_a_slash_is_a_command_unless_it_looks_like_a_path():
    shown = await converse("/hepl", "/etc/hosts", "/exit", "never")

    assert shown == ["Error: no such command '/hepl'; did you mean 'help'?", "/etc/hosts<>"]


async def test_the_help_tells_of_every_command():
    (shown,) = await converse("/help")

    for command in COMMANDS:
        assert f"/{command.name}" in shown


async def test_without_a_flow_to_talk_to_there_is_no_conversation():
    with pytest.raises(UnknownNameError, match="did you mean 'listen'"):
        await converse(flow="lisen")
    async with FlowApp({"flow": {"silent": {"flow_content": "ListenOp()"}}}) as app:
        with pytest.raises(ConfigError, match="name the flow to talk to \\(silent\\)"):
            Session(AppPartner(app), Script([]), None, {})
