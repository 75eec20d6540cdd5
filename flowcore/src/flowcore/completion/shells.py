"""The scripts of the shells, and how they are answered."""

from __future__ import annotations

import os
import re
from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

VARIABLE = "_FLOWCORE_COMPLETE"
"""The environment variable by which a shell asks for completions."""

_UNFINISHED = ("=", ".", "/", ",")
"""Ends of words that are to go on: no space comes after them."""

_NEEDS_QUOTES = re.compile(r"[^\w@%+=:,./~-]")

_BASH = """\
%(complete_func)s() {
    local kind value
    COMPREPLY=()
    while IFS=$'\\t' read -r kind value; do
        case $kind in
            '') ;;
            file) compopt -o default ;;
            part) compopt -o nospace; COMPREPLY+=("$value") ;;
            *) COMPREPLY+=("$value") ;;
        esac
    done < <(FLOWCORE_LINE="${COMP_LINE:0:$COMP_POINT}" FLOWCORE_BREAKS=$COMP_WORDBREAKS \\
        %(complete_var)s=bash_complete command %(prog_name)s 2>/dev/null)
} 2>/dev/null
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null ||
    complete -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local line kind value help
    local -a whole parts
    while IFS=$'\\t' read -r kind value help; do
        case $kind in
            '') ;;
            file) _files ;;
            part) parts+=("$value") ;;
            *) whole+=("$value") ;;
        esac
    done < <(COMP_WORDS="${(F)words[1,CURRENT]}" COMP_CWORD=$((CURRENT - 1)) \\
        %(complete_var)s=zsh_complete command %(prog_name)s 2>/dev/null)
    (( $#whole )) && compadd -a whole
    (( $#parts )) && compadd -S '' -a parts
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i; }
    compdef %(complete_func)s %(prog_name)s
fi
"""


class _Whole(ShellComplete):
    """Offers the whole word, also where an option and its value are one: ``--config=my``."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        items = super().get_completions(args, incomplete)
        name, equals, _ = incomplete.partition("=")
        if name.startswith("-") and equals:
            for item in items:
                item.value = f"{name}={item.value}"
        return items


class Bash(_Whole, BashComplete):
    """Takes the line as it is, for bash splits words at ``=`` and ``:`` too."""

    source_template = _BASH

    def source(self) -> str:
        """Return the script."""
        return ShellComplete.source(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is completed, and that one."""
        line = os.environ["FLOWCORE_LINE"]
        words = split_arg_string(line)
        # Is the last word still being typed, or does a new one begin?
        incomplete = words.pop() if len(split_arg_string(f"{line}x")) == len(words) else ""
        breaks = [c for c in os.environ.get("FLOWCORE_BREAKS", "=:") if c in "=:"]
        self._typed = incomplete[: max((incomplete.rfind(c) + 1 for c in breaks), default=0)]
        while words and "=" in words[0]:
            del words[0]  # variables for this command
        return words[1:], incomplete

    def complete(self) -> str:
        """Return what the script reads."""
        # An unquoted name would become several words.
        return "\n".join(
            self.format_completion(item)
            for item in self.get_completions(*self.get_completion_args())
            if not _NEEDS_QUOTES.search(item.value)
        )

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return a line: the kind, and what comes after the part that bash takes for typed."""
        return f"{_kind(item)}\t{item.value.removeprefix(self._typed)}"


class Zsh(_Whole, ZshComplete):
    """Tells words that are to go on from those that are whole."""

    source_template = _ZSH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return a line: the kind, the word, what it means."""
        return f"{_kind(item)}\t{item.value}\t{_one_line(item.help)}"


class Fish(_Whole, FishComplete):
    """Offers whole words."""


def register() -> None:
    """Let click use these."""
    for cls in (Bash, Zsh, Fish):
        add_completion_class(cls)


def _kind(item: CompletionItem[Any]) -> str:
    if item.type != "plain":
        return item.type
    return "part" if item.value.endswith(_UNFINISHED) else "plain"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
