"""What was measured, and what follows from it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.task import Figure, Target, Task


@dataclass
class TaskResults:
    """The figures of one task.

    Attributes:
        task: What was measured.
        rounds: By peer, the figures of each round.
        failures: By peer, why it could not be measured (any more).
    """

    task: Task
    rounds: dict[str, list[Mapping[str, float]]] = field(
        default_factory=dict[str, list[Mapping[str, float]]]
    )
    failures: dict[str, str] = field(default_factory=dict[str, str])

    def values(self, peer: str, figure: str) -> list[float]:
        """Return a figure of each round."""
        return [each[figure] for each in self.rounds.get(peer, ())]

    def median(self, peer: str, figure: str) -> float | None:
        """Return the median of the rounds, or None without one."""
        values = self.values(peer, figure)
        return statistics.median(values) if values else None

    def ratio(self, peer: str, other: str, figure: str) -> float | None:
        """Return the median of the ratios of two peers, each taken within a round."""
        pairs = zip(self.values(peer, figure), self.values(other, figure), strict=False)
        ratios = [ours / theirs for ours, theirs in pairs if theirs]
        return statistics.median(ratios) if ratios else None

    def disturbed(self, *peers: str) -> tuple[int, int]:
        """Return in how many rounds something else had the cores, of one of the peers or more.

        Returns:
            That number, and that of the rounds in which all of them were measured.
        """
        rounds = list(zip(*(self.rounds.get(peer, ()) for peer in peers), strict=False))
        count = sum(any(each.get("disturbed", 0.0) > 0 for each in turn) for turn in rounds)
        return count, len(rounds)


@dataclass(frozen=True)
class Verdict:
    """How a target was met.

    Attributes:
        target: What was wanted.
        figure: Of which figure.
        wanted: The median, over the rounds, of what the target asks for.
        got: The median of the figure.
        met: Whether the figure was at least, or at most, what was asked for, in the median of the
            rounds.
    """

    target: Target
    figure: Figure
    wanted: float
    got: float
    met: bool


def verdicts(results: TaskResults) -> list[Verdict]:
    """Compare with the targets; those that :func:`unmeasured` tells are left out."""
    figures = {figure.name: figure for figure in results.task.figures}
    found: list[Verdict] = []
    for target in results.task.targets:
        figure = figures[target.figure]
        got = results.values(target.peer, figure.name)
        wanted = _wanted(results, target, len(got))
        pairs = list(zip(got, wanted, strict=False))
        if pairs:
            margin = statistics.median(ours - asked for ours, asked in pairs)
            met = margin >= 0 if figure.better == "higher" else margin <= 0
            asked = statistics.median(asked for _, asked in pairs)
            found.append(Verdict(target, figure, asked, statistics.median(got), met))
    return found


def unmeasured(results: TaskResults) -> list[tuple[Target, str]]:
    """Return the targets that cannot be judged, each with the peer that has no figures."""
    return [
        (target, missing[0])
        for target in results.task.targets
        if (missing := [name for name in _peers_of(target) if not results.rounds.get(name)])
    ]


def _peers_of(target: Target) -> list[str]:
    return [target.peer] if target.of is None else [target.peer, target.of]


def _wanted(results: TaskResults, target: Target, rounds: int) -> Sequence[float]:
    if target.of is None:
        return [target.factor + target.plus] * rounds
    return [
        target.factor * value + target.plus for value in results.values(target.of, target.figure)
    ]


def as_json(results: TaskResults) -> dict[str, Any]:
    """Return everything about a task, for a file."""
    return {
        "title": results.task.title,
        "figures": [asdict(figure) for figure in results.task.figures],
        "rounds": results.rounds,
        "medians": {
            peer: {
                figure.name: results.median(peer, figure.name) for figure in results.task.figures
            }
            for peer in results.rounds
        },
        "failures": results.failures,
        "targets": [
            {**asdict(each.target), "wanted": each.wanted, "got": each.got, "met": each.met}
            for each in verdicts(results)
        ],
    }


def from_json(tasks: Mapping[str, Task], saved: Mapping[str, Any]) -> list[TaskResults]:
    """Return what :func:`as_json` has made of results, by task, without tasks that are no more."""
    return [
        TaskResults(tasks[name], each["rounds"], each["failures"])
        for name, each in saved.items()
        if name in tasks
    ]
