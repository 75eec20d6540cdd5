"""The tables, as Markdown that can also be read as it is."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peer import Peer
from benchmarks.results import TaskResults, Verdict, verdicts

DOCUMENT = Path(__file__).parent.parent / "docs" / "explanation" / "performance.md"
BEGIN = "<!-- benchmarks: begin; written by `nox -s bench` -->"
END = "<!-- benchmarks: end -->"


HOW_TO_READ = """\
A figure is the median of the rounds, with the least and the most of them in brackets. The last
column compares the first figure: in each round it is divided by the other peer's of that round, and
the median of these ratios is shown. So where rounds differ much, a peer may have the worse median
and the better ratio. Targets are judged in the same way: within each round, and then by the median.
A ratio for which something else had the cores in one of its rounds is marked as *disturbed*.

A row that begins with *limit* is nothing to use instead: it is a server without a framework (raw
ASGI), or flowcore's encoder without op and run, and shows what these parts cost by themselves."""


def document(everything: Mapping[str, Any], summary: str, tasks: str) -> str:
    """Return what is written about a run of the benchmarks.

    Args:
        everything: What is saved of it.
        summary: What comes of it.
        tasks: The tables of all tasks.
    """
    facts = [f"- {name}: {value}" for name, value in everything.items() if isinstance(value, str)]
    settings = [f"- {each['title']}: {each['settings']}" for each in everything["peers"].values()]
    image = "![The first figure of each task](../../benchmarks/results/latest.svg)"
    listed = "\n".join(settings)
    parts = ("\n".join(facts), summary, HOW_TO_READ, image, tasks, "### Settings", listed)
    return "\n\n".join(parts)


def number(value: float) -> str:
    """Return a number with three digits that count, or all before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.4f}"


def task_report(results: TaskResults, peers: Mapping[str, Peer]) -> str:
    """Return the table of a task, with its failures and targets."""
    task = results.task
    first, reference = task.figures[0], task.reference
    compared = f"x {peers[reference].title}" if reference in results.rounds else ""
    header = ["", *(f"{figure.title}, {figure.unit}" for figure in task.figures), compared]
    order = sorted(
        (name for name, rounds in results.rounds.items() if rounds),
        key=lambda name: results.median(name, first.name) or 0.0,
        reverse=first.better == "higher",
    )
    rows = [
        [
            peers[name].title,
            *(_spread(results.values(name, figure.name)) for figure in task.figures),
            _times(results, name, first.name),
        ]
        for name in order
    ]
    found = table(header, rows) if rows else "No peer could be measured."
    parts = [f"### {task.id}, {task.title}", found]
    parts += [
        f"- {peers[name].title} failed: {_one_line(why)}" for name, why in results.failures.items()
    ]
    for name in order:
        disturbed, rounds = results.disturbed(name)
        if disturbed:
            what = "something else had the cores for some time"
            parts.append(f"- {peers[name].title}: {what} in {disturbed} of {rounds} rounds")
    parts += [f"- {_sentence(verdict, peers)}" for verdict in verdicts(results)]
    return "\n\n".join(parts[:2]) + "\n\n" + "\n".join(parts[2:])


def _spread(values: Sequence[float]) -> str:
    middle = number(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({number(min(values))} to {number(max(values))})"


def _one_line(text: str) -> str:
    """Return a text, perhaps the log of a server, without its line breaks and its middle."""
    line = " ".join(text.split())
    return line if len(line) <= 400 else f"{line[:200]} … {line[-200:]}"


def _times(results: TaskResults, name: str, figure: str) -> str:
    reference = results.task.reference
    ratio = results.ratio(name, reference, figure)
    if ratio is None:
        return ""
    note = disturbance(results, name, reference)
    return f"{ratio:.2f} ({note})" if note else f"{ratio:.2f}"


def disturbance(results: TaskResults, *peers: str) -> str:
    """Return what is to be said of a ratio of peers, if something else had the cores meanwhile."""
    disturbed, rounds = results.disturbed(*peers)
    return f"{disturbed} of {rounds} disturbed" if disturbed else ""


def _sentence(verdict: Verdict, peers: Mapping[str, Peer]) -> str:
    figure = verdict.figure
    said = "**met**" if verdict.met else "**not met**"
    return (
        f"{peers[verdict.target.peer].title}, {figure.title}: {number(verdict.got)} {figure.unit}, "
        f"wanted {wanted(verdict, peers)}: {said}"
    )


def wanted(verdict: Verdict, peers: Mapping[str, Peer]) -> str:
    """Return what a target asks for, and of which peer's figure that is made."""
    target, figure = verdict.target, verdict.figure
    asked = "at least" if figure.better == "higher" else "at most"
    asked += f" {number(verdict.wanted)}"
    if target.of is not None:
        plus = f" + {number(target.plus)} {figure.unit}" if target.plus else ""
        asked += f" ({number(target.factor)} x {peers[target.of].title}{plus})"
    return asked


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, without the columns that are empty."""
    kept = [n for n, _ in enumerate(header) if n == 0 or any(row[n] for row in rows)]
    cells = [[row[n] for n in kept] for row in (header, *rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(kept))]
    lines = [[f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)] for row in cells]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_into_document(block: str) -> None:
    """Replace what stands between the markers of the document.

    Raises:
        ValueError: The document lacks a marker.
    """
    text = DOCUMENT.read_text(encoding="utf-8")
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{DOCUMENT} lacks the line {BEGIN!r} or {END!r}")
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{block}\n\n{END}{after}", encoding="utf-8")
