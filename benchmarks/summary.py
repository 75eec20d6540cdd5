"""What comes of a run: how the targets stand, and flowcore beside FastAPI by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.peer import Peer
from benchmarks.report import disturbance, number, table, wanted
from benchmarks.results import TaskResults, unmeasured, verdicts
from benchmarks.task import Target

BY_HAND = ("fastapi", "fastapi_openai")
"""What people would write instead; the second one where a model is asked."""

OURS = ("flowcore", "flowcore_uvicorn")


def summary(everything: Sequence[TaskResults], peers: Mapping[str, Peer]) -> str:
    """Return all targets in one table, and all figures of flowcore beside those of FastAPI."""
    parts = [_targets(everything, peers), _beside_fastapi(everything, peers)]
    return "\n\n".join(part for part in parts if part)


def _targets(everything: Sequence[TaskResults], peers: Mapping[str, Peer]) -> str:
    rows: list[list[str]] = []
    met = judged = 0
    for results in everything:
        for verdict in verdicts(results):
            judged += 1
            met += verdict.met
            rows.append(
                [
                    results.task.id,
                    _named(results, verdict.target, peers),
                    f"{number(verdict.got)} {verdict.figure.unit}",
                    wanted(verdict, peers),
                    "met" if verdict.met else "**not met**",
                ]
            )
        for target, peer in unmeasured(results):
            why = f"peer {peer} failed" if peer in results.failures else f"needs peer {peer}"
            named = _named(results, target, peers)
            rows.append([results.task.id, named, "", "", f"not measured: {why}"])
    if not rows:
        return ""
    header = ["", "target", "measured", "wanted", ""]
    rest = f", {len(rows) - judged} not measured" if len(rows) > judged else ""
    return f"### The targets: {met} of {judged} met{rest}\n\n{table(header, rows)}"


def _named(results: TaskResults, target: Target, peers: Mapping[str, Peer]) -> str:
    figure = next(each for each in results.task.figures if each.name == target.figure)
    return f"{peers[target.peer].title}: {figure.title}"


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
                    note = disturbance(results, name, other)
                    row.append(f"{number(median)} ({ratio:.2f} x{note and f', {note}'})")
            if any(row[3:]):
                rows.append(row)
    if not rows:
        return ""
    header = ["", "better", "FastAPI by hand", *(peers[name].title for name in OURS)]
    return f"### Beside FastAPI by hand\n\n{table(header, rows)}"
