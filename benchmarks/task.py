"""What a task looks like to the frame."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from benchmarks.load import Load
from benchmarks.server import Server

TASKS = Path(__file__).with_name("tasks")


@dataclass(frozen=True)
class Figure:
    """One number that a task yields.

    Attributes:
        name: Its key in the mapping that ``measure`` returns.
        title: What the table calls it.
        unit: For example ``"chunks/s"``.
        better: Whether more or less of it is better.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"]


@dataclass(frozen=True)
class Target:
    """What flowcore wants to reach.

    Attributes:
        figure: The figure's name.
        factor: Times the other's figure; without an other, the figure itself.
        of: The name of the peer to compare with, or None.
        plus: Added to the other's figure, in the figure's unit.
        peer: Who wants it.
    """

    figure: str
    factor: float = 1.0
    of: str | None = None
    plus: float = 0.0
    peer: str = "flowcore"


class Task(Protocol):
    """Something that peers do while it is measured; each file of ``tasks/`` has one, ``TASK``.

    Attributes:
        id: For example ``"T1"``.
        title: One line.
        figures: What ``measure`` returns; the first is the one of the chart.
        reference: The name of the peer that the table compares with.
        targets: What flowcore wants to reach.
        upstream: Whether the peer needs the OpenAI-compatible stub; its address is then in the
            peer's variable ``BENCH_UPSTREAM``.
    """

    id: str
    title: str
    figures: tuple[Figure, ...]
    reference: str
    targets: tuple[Target, ...]
    upstream: bool

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Check one answer, then measure; the server is fresh.

        Returns:
            The figures by name; others beside them are written to the results only.

        Raises:
            MeasurementError: The peer answers wrongly or fails under load.
        """
        ...


def all_tasks() -> dict[str, Task]:
    """Return every task by id, in the order of their ids."""
    names = sorted(path.stem for path in TASKS.glob("*.py"))
    tasks: list[Task] = [importlib.import_module(f"benchmarks.tasks.{name}").TASK for name in names]
    return {task.id: task for task in sorted(tasks, key=lambda task: task.id)}
