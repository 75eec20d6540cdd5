"""What comes of a run: how the targets stand, and flowcore beside FastAPI by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.peer import Peer
from benchmarks.report import number, table, wanted
from benchmarks.results import TaskResults, verdicts

BY_HAND = ("fastapi", "fastapi_openai")
"""What people would write instead; the second one where a model is asked."""

OURS = ("flowcore", "flowcore_uvicorn")


def summary(everything: Sequence[TaskResults], peers: Mapping[str, Peer]) -> str:
    """Return all targets in one table, and all figures of flowcore beside those of FastAPI."""
    parts = [_targets(everything, peers), _beside_fastapi(everything, peers)]
    return "\n\n".join(part for part in parts if part)


def _targets(everything: Sequence[TaskResults], peers: Mapping[str, Peer]) -> str:
    found = [(each.task.id, verdict) for each in everything for verdict in verdicts(each)]
    if not found:
        return ""
    rows = [
        [
            task,
            f"{peers[verdict.target.peer].title}: {verdict.figure.title}",
            f"{number(verdict.got)} {verdict.figure.unit}",
            wanted(verdict, peers),
            "met" if verdict.met else "**not met**",
        ]
        for task, verdict in found
    ]
    met = sum(verdict.met for _, verdict in found)
    header = ["", "target", "measured", "wanted", ""]
    title = f"### The targets: {met} of {len(found)} met"
    return f"{title}\n\n{table(header, rows)}"


def _beside_fastapi(everything: Sequence[TaskResults], peers: Mapping[str, Peer]) -> str:
    rows: list[list[str]] = []
    for results in everything:
        for figure in results.task.figures:
            other = next((name for name in BY_HAND if results.median(name, figure.name)), None)
            if other is None:
                continue
            row = [
                f"{results.task.id}: {figure.title}, {figure.unit}",
                figure.better,
                number(results.median(other, figure.name) or 0.0),
            ]
            for name in OURS:
                median = results.median(name, figure.name)
                ratio = results.ratio(name, other, figure.name)
                if median is None or ratio is None:
                    row.append("")
                else:
                    row.append(f"{number(median)} ({ratio:.2f} x)")
            if any(row[3:]):
                rows.append(row)
    if not rows:
        return ""
    header = ["", "better", "FastAPI by hand", *(peers[name].title for name in OURS)]
    return f"### Beside FastAPI by hand\n\n{table(header, rows)}"
