"""Measure flowcore and its peers: ``python -m benchmarks --task T1 --peer fastapi --quick``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks import environment
from benchmarks.cores import Cores
from benchmarks.load import Load
from benchmarks.peer import Peer, all_peers
from benchmarks.server import MeasurementError, running
from benchmarks.task import Task, all_tasks

Figures = dict[str, dict[str, list[dict[str, float]]]]


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    add = parser.add_argument
    add("--task", action="append", help="only this task, for example T1; may be repeated")
    add("--peer", action="append", help="only this peer, for example fastapi; may be repeated")
    add("--repeats", type=int, default=0, help="rounds; 5, or 1 if --quick")
    add("--quick", action="store_true", help="rough figures in a fraction of the time")
    return parser.parse_args(argv)


def main() -> int:
    """Run, print, and say by the exit code whether every measurement succeeded."""
    options = arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tasks, peers = all_tasks(), all_peers()
    chosen = [tasks[name] for name in options.task or tasks]
    ours = [peers[name] for name in options.peer or peers]
    pythons: dict[str, Path] = {}
    for peer in ours:
        pythons[peer.name] = environment.prepare(peer)
    load = Load(Cores(), options.quick)
    print(load.cores)
    for task in chosen:
        for _ in range(options.repeats or (1 if options.quick else 5)):
            for peer in ours:
                if task.id in peer.tasks:
                    print(
                        task.id, peer.name, *one(task, peer, pythons[peer.name], load), flush=True
                    )
    return 0


def one(task: Task, peer: Peer, python: Path, load: Load) -> Any:
    """Measure one task with one peer, once."""
    with nullcontext() as upstream:
        variables = {"BENCH_UPSTREAM": upstream} if upstream else {}
        with running(peer, python, load.cores, variables) as server:
            try:
                return task.measure(server, load).items()
            except MeasurementError as error:
                return ("failed", str(error))


if __name__ == "__main__":
    sys.exit(main())
