"""Where the user types: a line that can be edited, with what was typed before."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

_STYLE = Style.from_dict(
    {
        "prompt": "bold",
        "placeholder": "ansibrightblack",
        # Beside the words, no bar and no colours that shout.
        "completion-menu": "noinherit",
        "completion-menu.completion.current": "noinherit reverse",
        "completion-menu.meta.completion": "noinherit ansibrightblack",
        "completion-menu.meta.completion.current": "noinherit ansibrightblack",
        "scrollbar.background": "noinherit",
        "scrollbar.button": "noinherit",
    }
)


class Keyboard:
    """Reads what the user types.

    Args:
        commands: Usages of commands, such as ``/flow NAME``, and what they do.
        flows: Names of the flows, for completion.
    """

    def __init__(self, commands: Sequence[tuple[str, str]], flows: Iterable[str]) -> None:
        self._session: PromptSession[str] = PromptSession(
            history=_history(),
            completer=_Completer(commands, list(flows)),
            complete_while_typing=True,
            key_bindings=_key_bindings(),
            multiline=True,
            style=_STYLE,
            prompt_continuation="  ",
            reserve_space_for_menu=4,
        )
        self._plain: PromptSession[str] = PromptSession(style=_STYLE)

    async def read(self) -> str:
        """Return what was typed.

        Raises:
            KeyboardInterrupt: If the line was empty and Ctrl-C was pressed.
            EOFError: If the line was empty and Ctrl-D was pressed.
        """
        return await self._session.prompt_async(
            FormattedText([("class:prompt", "> ")]),
            placeholder=_placeholder,
        )

    async def read_value(self, label: str) -> str:
        """Return a value, which is no part of the history.

        Raises:
            KeyboardInterrupt: If Ctrl-C was pressed.
            EOFError: If Ctrl-D was pressed.
        """
        return await self._plain.prompt_async(FormattedText([("class:prompt", f"{label}: ")]))


@contextmanager
def silent() -> Generator[None]:
    """Let the terminal not show what is typed, so that it does not get into the answer.

    It is not lost: whoever reads next gets it.
    """
    try:
        import termios  # noqa: PLC0415 - not on Windows
    except ImportError:
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def history_path() -> Path:
    """Return the file that keeps what was typed, of this user alone."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local"
    else:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "flowcore" / "chat_history"


class _History(FileHistory):
    """Does without its file where that cannot be read, or the disk is full."""

    def load_history_strings(self) -> Iterable[str]:
        with suppress(OSError):
            return list(super().load_history_strings())
        return []

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string)


def _history() -> History:
    # Somebody without a home can converse all the same.
    with suppress(OSError, RuntimeError):
        path = history_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        if path.is_file():
            return _History(path)
    return InMemoryHistory()


def _placeholder() -> FormattedText:
    # What stays on the screen is what was typed.
    return FormattedText([] if get_app().is_done else [("class:placeholder", "your question")])


def _key_bindings() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def clear(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    del send, new_line, clear
    return keys


class _Completer(Completer):
    def __init__(self, commands: Sequence[tuple[str, str]], flows: Sequence[str]) -> None:
        self._commands = commands
        self._flows = flows

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        del complete_event
        text = document.text_before_cursor
        command, space, rest = text.partition(" ")
        if not space and text.startswith("/"):
            for usage, meaning in self._commands:
                word = usage.split()[0]
                if word.startswith(text):
                    yield Completion(word, -len(text), display=usage, display_meta=meaning)
        elif command == "/flow":
            for flow in self._flows:
                if flow.startswith(rest):
                    yield Completion(flow, -len(rest))
