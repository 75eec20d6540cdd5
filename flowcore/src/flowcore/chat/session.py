"""The conversation: questions, commands, answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

from flowcore.calling import Printer, parse_inputs
from flowcore.chat.conversation import Conversation
from flowcore.chat.partner import QUESTION, FlowFace, Partner, choose_flow
from flowcore.chat.reply import Reply
from flowcore.errors import ConfigError, FlowcoreError, did_you_mean
from flowcore.terminal import counted


class Screen(Protocol):
    """Where the user reads and writes."""

    async def read(self) -> str | None:
        """Return what the user enters next, or None at the end."""
        ...

    async def read_value(self, name: str, schema: Mapping[str, Any]) -> str | None:
        """Ask for the value of an input; None if there is none to have."""
        ...

    def answering(self, stop: Callable[[], object]) -> AbstractContextManager[Printer]:
        """Show an answer inside the block; call ``stop`` if the user wants no more of it."""
        ...

    def conclude(self, reply: Reply) -> None:
        """Show how an answer ended."""
        ...

    def say(self, text: str) -> None:
        """Show something that is no part of the conversation."""
        ...

    def complain(self, text: str) -> None:
        """Show that something is wrong."""
        ...


@dataclass(frozen=True)
class Command:
    """What begins with a slash."""

    name: str
    argument: str
    help: str


COMMANDS = (
    Command("help", "", "show this"),
    Command("new", "", "forget the conversation and begin a new one"),
    Command("retry", "", "ask the last question again"),
    Command("flows", "", "list the flows"),
    Command("flow", "NAME", "talk to another flow"),
    Command("save", "FILE", "write the conversation to FILE: Markdown, or messages if it is .json"),
    Command("exit", "", "leave; so does Ctrl-D"),
)


class Session:
    """Asks a flow what the user enters, with what was said before.

    Args:
        partner: Runs the flows.
        screen: Shows them to the user.
        flow: Name of the flow; by default the first that streams and takes a question.
        values: Other inputs of the flow, as texts.

    Raises:
        UnknownNameError: If there is no such flow.
        ConfigError: If it does not take a question, or none does.
    """

    def __init__(
        self, partner: Partner, screen: Screen, flow: str | None, values: Mapping[str, str]
    ) -> None:
        self._partner = partner
        self._screen = screen
        self.flow = choose_flow(partner.flows, flow)
        self._given = dict(values)
        self._asked: dict[str, str] = {}
        self._last = ""
        self._open = True
        self.conversation = Conversation()
        self.failures = 0

    async def run(self) -> None:
        """Converse until the user leaves."""
        commands: Mapping[str, Callable[[str], Awaitable[None]]] = {
            command.name: getattr(self, f"_{command.name}") for command in COMMANDS
        }
        self._screen.say(f"{self._about()}. /help tells more, Ctrl-D leaves.")
        while self._open and (line := await self._screen.read()) is not None:
            word, _, rest = line.strip().partition(" ")
            name = word.removeprefix("/")
            if not word:
                continue
            if not word.startswith("/") or "/" in name:
                await self._ask(line.strip())
            elif name in commands:
                try:
                    await commands[name](rest.strip())
                except FlowcoreError as error:
                    self._screen.complain(str(error))
            else:
                guess = did_you_mean(name, commands) or "; /help lists them"
                self._screen.complain(f"no such command {word!r}{guess}")

    @property
    def _face(self) -> FlowFace:
        return self._partner.flows[self.flow]

    def _about(self) -> str:
        count = len(self._partner.flows)
        return f"flow {self.flow!r}" + (f" of {count}" if count > 1 else "")

    # --- questions ---

    async def _ask(self, question: str) -> None:
        self._last = question
        if (values := await self._values()) is None:
            return
        inputs: dict[str, Any] = {**values, QUESTION: question}
        if self.conversation.exchanges:
            inputs[self._face.history] = self.conversation.messages()
        scope, reply = anyio.CancelScope(), Reply()
        with self._screen.answering(scope.cancel) as reply.printer, scope:
            try:
                await self._partner.answer(self.flow, inputs, reply)
            except FlowcoreError as error:
                reply.fail(error)
        reply.stopped = scope.cancelled_caught
        self._screen.conclude(reply)
        if reply.error:
            self.failures += 1
        if reply.invalid:
            self._asked.clear()
        elif reply.answer and not reply.error:
            self.conversation.add(question, reply.answer)

    async def _values(self) -> dict[str, Any] | None:
        """Return the other inputs; each that is not given is asked for, once."""
        for name in self._face.wanted:
            if name not in self._given and name not in self._asked:
                value = await self._screen.read_value(name, self._face.inputs.get(name, {}))
                if value is None:
                    return None
                self._asked[name] = value
        return parse_inputs({**self._asked, **self._given}, self._face.schema)

    # --- commands ---

    async def _help(self, _: str) -> None:
        usages = [f"/{command.name} {command.argument}".rstrip() for command in COMMANDS]
        width = max(map(len, usages))
        lines = [
            f"{usage:<{width}}  {command.help}"
            for usage, command in zip(usages, COMMANDS, strict=True)
        ]
        lines.append(f"{'Ctrl-C':<{width}}  stop the answer, or clear the line")
        lines.append(f"{'Alt-Enter':<{width}}  begin a new line")
        self._screen.say("\n".join(lines))

    async def _new(self, _: str) -> None:
        self.conversation = Conversation()
        self._screen.say("a new conversation")

    async def _retry(self, _: str) -> None:
        if not self._last:
            raise ConfigError("there is no question yet")
        exchanges = self.conversation.exchanges
        if exchanges and exchanges[-1].question == self._last:
            exchanges.pop()
        await self._ask(self._last)

    async def _flows(self, _: str) -> None:
        lines = [
            f"{'*' if name == self.flow else ' '} {name}  {', '.join(flow.inputs)}".rstrip()
            for name, flow in self._partner.flows.items()
        ]
        self._screen.say("\n".join(lines))

    async def _flow(self, name: str) -> None:
        if not name:
            raise ConfigError("name a flow; /flows lists them")
        self.flow = choose_flow(self._partner.flows, name)
        self._asked.clear()
        self._screen.say(self._about())

    async def _save(self, name: str) -> None:
        if not name:
            raise ConfigError("name a file, such as /save talk.md")
        path = self.conversation.save(name)
        self._screen.say(f"{counted(len(self.conversation.exchanges), 'answer')} in {path}")

    async def _exit(self, _: str) -> None:
        self._open = False
