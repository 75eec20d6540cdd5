"""What the command line prints: streams of chunks, trees of ops, tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from flowcore.explain import pointer
from flowcore.leftover_search import doubled_braces, leftovers
from flowcore.op import Op, ParallelOp, SequentialOp
from flowcore.op_tree import places
from flowcore.schema import ChunkEnum, FlowStreamChunk
from flowcore.trace import OpEvent
from flowcore.user_op import UserOp

if TYPE_CHECKING:
    from flowcore.app import FlowApp

STYLES: Mapping[ChunkEnum, str] = {
    ChunkEnum.THINK: "dim italic",
    ChunkEnum.ANSWER: "",
    ChunkEnum.TOOL: "cyan",
    ChunkEnum.USAGE: "dim green",
    ChunkEnum.ERROR: "bold red",
}


class ChunkPrinter:
    """Prints chunks as they come, each type in its colour, with a spinner until the first.

    Answers go to standard output and all else to standard error, so that a pipe gets the answer.
    """

    def __init__(self) -> None:
        self._out = Console(highlight=False, soft_wrap=True)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._last: ChunkEnum | None = None
        self._at_line_start = True
        self._failure: object = None
        self._has_answer = False
        self._spinner = self._err.status("waiting for the first chunk", spinner="dots")
        if self._err.is_terminal:
            self._spinner.start()

    def chunk(self, chunk: FlowStreamChunk) -> None:
        """Print one chunk."""
        self._spinner.stop()
        kind = chunk.chunk_type
        text = as_text(chunk)
        if kind not in {ChunkEnum.THINK, ChunkEnum.ANSWER}:
            text = f"[{kind}] {text}"
        if self._last is not None and (kind is not self._last or kind is ChunkEnum.TOOL):
            self._end_line()
        console = self._out if kind is ChunkEnum.ANSWER else self._err
        console.print(Text(printable(text), style=STYLES.get(kind, "")), end="")
        console.file.flush()
        self._at_line_start = text.endswith("\n")
        self._last = kind
        if kind is ChunkEnum.ERROR:
            self._failure = chunk.metadata.get("code")
        elif kind is ChunkEnum.ANSWER:
            self._has_answer = self._has_answer or bool(text)

    def close(self) -> None:
        """Stop the spinner, end the last line, and say where a failure is explained."""
        self._spinner.stop()
        self._end_line()
        if line := pointer(self._failure):
            self._err.print(line, style="dim")
            self._failure = None

    def miss_answer(self) -> None:
        """Say so where a run that came to a good end has not answered."""
        if not self._has_answer:
            self._err.print("the flow ended without an answer", style="dim")

    def _end_line(self) -> None:
        if self._last is not None and not self._at_line_start:
            (self._out if self._last is ChunkEnum.ANSWER else self._err).print()
            self._at_line_start = True


class JsonPrinter:
    """Prints each chunk as a line of JSON on standard output."""

    def chunk(self, chunk: FlowStreamChunk) -> None:
        """Print one chunk."""
        sys.stdout.write(json.dumps(chunk.model_dump(mode="json")) + "\n")
        sys.stdout.flush()

    def miss_answer(self) -> None:
        """Do nothing: a program sees what there is."""

    def close(self) -> None:
        """Do nothing: every line is ended already."""


class OpTimes:
    """Collects what a run tells of its ops, and prints when each started and how long it took."""

    def __init__(self) -> None:
        self._calls: list[tuple[OpEvent, OpEvent | None]] = []

    def event(self, event: OpEvent) -> None:
        """Take note of an event."""
        if event.state == "started":
            self._calls.append((event, None))
            return
        # Calls of one op at the same time are not told apart.
        for index, (started, ended) in enumerate(self._calls):
            if ended is None and started.op == event.op:
                self._calls[index] = started, event
                return

    def print(self) -> None:
        """Print a table on standard error, a line for each call of an op, if there was any."""
        rows = [
            {
                "op": started.op,
                "name": started.name,
                "started": f"{started.at:.3f} s",
                "took": f"{ended.at - started.at:.3f} s" if ended else "",
                "state": ended.state if ended else "running",
            }
            for started, ended in self._calls
        ]
        if rows:
            print_table(rows, Console(stderr=True, highlight=False))

    def miss_events(self) -> None:
        """Say so where nothing was told of any op, as a server does that cannot tell of it."""
        if not self._calls:
            text = (
                "the server told nothing of its ops: it is of another version, or what stands "
                "before it did not pass on that they were asked for"
            )
            Console(stderr=True, highlight=False, soft_wrap=True).print(text, style="dim")


def print_flows_as_trees(app: FlowApp, names: Iterable[str]) -> None:
    """Print flows with their ops.

    Warns of plugins that could not be loaded, and of of what ops and prompts still hold of FlowLLM.
    """
    console = Console(highlight=False, soft_wrap=True)
    flows = [app.flows[name] for name in names]
    warnings = [f"{each} could not be loaded: {each.error}" for each in app.plugins.failures]
    ops = [op for flow in flows for _, op in places(flow.op)]
    warnings += leftovers(map(type, ops))
    prompts = [op.find_prompts() for op in ops if isinstance(op, UserOp)]
    warnings += doubled_braces(dict.fromkeys(file for file in prompts if file))
    for warning in warnings:
        console.print(f"[yellow]warning:[/] {_safe(warning)}")
    for flow in flows:
        kind = "stream" if flow.stream else "no stream"
        label = f"[bold]{_safe(flow.name)}[/] [dim]({kind})[/]"
        tree = Tree(f"{label} {_safe(flow.description)}".rstrip())
        _grow(tree, "", flow.op, app)
        console.print(tree)
    count = len(app.flows)
    if not count:
        console.print("[yellow]warning:[/] there are no flows; name them under `flow:`")
    console.print(f"[green]ok:[/] {counted(count, 'flow')}")


def _grow(tree: Tree, label: str, op: Op, app: FlowApp) -> None:
    if isinstance(op, SequentialOp | ParallelOp):
        branch = tree.add("in sequence" if isinstance(op, SequentialOp) else "in parallel")
        for _, child in op.children():
            _grow(branch, "", child, app)
        return
    name = type(op).__name__
    origin = (
        app.catalog.ops.origin(name)
        if name in app.catalog.ops
        else f"module {type(op).__module__!r}"
    )
    branch = tree.add(f"{_safe(label)}{_safe(name)} [dim]from {_safe(origin)}[/]")
    for key, child in op.children():
        _grow(branch, f"{key}: ", child, app)


def print_table(rows: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """Print mappings that have the same keys as a table, by default on standard output."""
    console = console or Console(highlight=False)
    if not rows:
        console.print("none")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for key in rows[0]:
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(_safe(str(value)) for value in row.values()))
    console.print(table)


def print_markdown(text: str) -> None:
    """Print Markdown: rendered where a terminal shows it, else as it is."""
    console = Console()
    if not console.is_terminal:
        sys.stdout.write(text)
        return
    from rich.markdown import Markdown  # noqa: PLC0415 - loads a parser and a highlighter

    console.print(Markdown(text, code_theme="ansi_dark"))


def _safe(text: str) -> str:
    return escape(printable(text))


def as_text(chunk: FlowStreamChunk) -> str:
    """Return the content of a chunk; data as JSON."""
    if isinstance(chunk.chunk, str):
        return chunk.chunk
    return json.dumps(chunk.chunk, ensure_ascii=False)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``"1 row"``, ``"2 rows"``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return a text with control characters replaced by U+FFFD."""
    # A model's output must not steer the terminal: escape sequences, bells, title changes.
    return "".join(
        c if c.isprintable() or c in _HARMLESS else "\ufffd" for c in text.replace("\r\n", "\n")
    )


_HARMLESS = "\n\t\xa0\u202f\u3000\xad\u200b\u200c\u200d\u200e\u200f\u2060"
"""What steers nothing, though Python calls it unprintable: spaces of French and of Chinese,
joiners of emoji, Persian and Hindi, marks of direction, places where a word may be broken."""
