"""Measure flowcore and its peers: ``python -m benchmarks --task T1 --peer fastapi --quick``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import environment, machine
from benchmarks.chart import chart
from benchmarks.cores import Cores
from benchmarks.load import Load
from benchmarks.peer import Peer, all_peers
from benchmarks.report import HOW_TO_READ, document, task_report, write_into_document
from benchmarks.results import TaskResults, as_json, from_json
from benchmarks.server import MeasurementError, running
from benchmarks.sockets import raise_file_limit
from benchmarks.summary import summary
from benchmarks.task import Task, all_tasks
from benchmarks.upstream import upstream

RESULTS = Path(__file__).with_name("results")
ROUNDS = 3


@dataclass
class Bench:
    """One run of the benchmarks.

    Attributes:
        peers: Every peer by name.
        load: How much load.
        rounds: How often each peer is measured.
        pythons: The environment of each peer that takes part.
        absent: By peer, why it takes no part.
        results: What was measured so far.
    """

    peers: dict[str, Peer]
    load: Load
    rounds: int
    pythons: dict[str, Path] = field(default_factory=dict[str, Path])
    absent: dict[str, str] = field(default_factory=dict[str, str])
    results: list[TaskResults] = field(default_factory=list[TaskResults])

    def install(self, names: Sequence[str]) -> None:
        """Make the environments."""
        for name in names:
            print(f"environment of {name}", flush=True)
            try:
                self.pythons[name] = environment.prepare(self.peers[name])
            except environment.InstallError as error:
                self.absent[name] = str(error)
                print(f"  {error}")

    def measure(self, task: Task) -> None:
        """Measure the peers that can do the task, in turn, in each round."""
        results = TaskResults(task)
        self.results.append(results)
        names = [name for name in self.pythons if task.id in self.peers[name].tasks]
        with upstream(self.load.cores) if task.upstream else nullcontext() as url:
            variables = {"BENCH_UPSTREAM": url} if url else {}
            for turn in range(self.rounds):
                for name in names:
                    if name not in results.failures:
                        self._once(results, name, variables)
                        self._say(results, name, turn)

    def _once(self, results: TaskResults, name: str, variables: dict[str, str]) -> None:
        rounds = results.rounds.setdefault(name, [])
        python = self.pythons[name]
        try:
            with running(self.peers[name], python, self.load.cores, variables) as server:
                rounds.append(results.task.measure(server, self.load))
        except MeasurementError as error:
            results.failures[name] = f"in round {len(rounds) + 1}: {error}"

    def _say(self, results: TaskResults, name: str, turn: int) -> None:
        said = results.failures.get(name) or "  ".join(
            f"{figure}={value:.6g}" for figure, value in results.rounds[name][-1].items()
        )
        print(f"{results.task.id} round {turn + 1} {name:16} {said}", flush=True)

    def report(self) -> str:
        """Return all tables."""
        parts = [task_report(each, self.peers) for each in self.results if each.rounds]
        parts += [
            f"{self.peers[name].title} could not be installed: {why}"
            for name, why in self.absent.items()
        ]
        return "\n\n".join(parts)

    def save(self, about: dict[str, Any]) -> None:
        """Write the results, the chart and the tables."""
        RESULTS.mkdir(exist_ok=True)
        peers = {
            name: {
                "title": self.peers[name].title,
                "settings": self.peers[name].settings,
                "versions": environment.versions(python),
            }
            for name, python in self.pythons.items()
        }
        tasks = {results.task.id: as_json(results) for results in self.results}
        everything = {**about, "peers": peers, "not installed": self.absent, "tasks": tasks}
        text = json.dumps(everything, indent=1) + "\n"
        (RESULTS / "latest.json").write_text(text, encoding="utf-8")
        self.publish(everything)

    def publish(self, everything: Mapping[str, Any]) -> None:
        """Write the chart and the tables in the documentation."""
        (RESULTS / "latest.svg").write_text(chart(self.results, self.peers), encoding="utf-8")
        text = document(everything, summary(self.results, self.peers), self.report())
        write_into_document(text)

    def publish_again(self) -> None:
        """Write them anew of the results that were saved last."""
        saved = json.loads((RESULTS / "latest.json").read_text(encoding="utf-8"))
        self.results = from_json(all_tasks(), saved["tasks"])
        self.absent = saved["not installed"]
        self.publish(saved)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    add = parser.add_argument
    tasks, peers = ", ".join(all_tasks()), ", ".join(all_peers())
    add("--task", action="append", choices=all_tasks(), metavar="TASK", help=f"only this: {tasks}")
    add("--peer", action="append", choices=all_peers(), metavar="PEER", help=f"only this: {peers}")
    add("--repeats", type=int, help=f"rounds; {ROUNDS}, or 1 if --quick")
    add("--quick", action="store_true", help="rough figures in a fraction of the time")
    add("--save", action="store_true", help="write the results though not everything is measured")
    add("--rewrite", action="store_true", help="only write the tables of the last results anew")
    return parser.parse_args(argv)


def main() -> int:
    """Measure, print and, if all is measured, write after each task; exit with 1 at failures."""
    options = arguments(sys.argv[1:])
    raise_file_limit()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tasks = all_tasks()
    load = Load(Cores(), options.quick)
    bench = Bench(all_peers(), load, options.repeats or (1 if options.quick else ROUNDS))
    if options.rewrite:
        bench.publish_again()
        return 0
    about = {"began": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    about |= {"commit": machine.commit(), "rounds": str(bench.rounds), **machine.facts(load.cores)}
    print(f"other load on the machine at start: {about['other load on the machine at start']}")
    bench.install(options.peer or list(bench.peers))
    print(load.cores)
    save = options.save or not (options.task or options.peer or options.quick)
    try:
        for name in options.task or tasks:
            bench.measure(tasks[name])
            if save:
                bench.save(about)
    except KeyboardInterrupt:
        return 130
    finally:
        print(f"\n{HOW_TO_READ}\n\n{bench.report()}\n\n{summary(bench.results, bench.peers)}")
    return 1 if bench.absent or any(results.failures for results in bench.results) else 0


if __name__ == "__main__":
    sys.exit(main())
