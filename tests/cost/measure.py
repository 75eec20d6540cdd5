"""What a chunk, a run, an op and a request cost, counted and not timed.

``python -m tests.cost.measure`` prints the figures; with a name, as in ``python -m
tests.cost.measure "a request"``, which functions one unit of it calls how often.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cost import callgrind
from tests.cost.bounds import SIMPLE_CALL
from tests.cost.calls import KINDS

ROOT = Path(__file__).parents[2]


def count_calls() -> dict[str, dict[str, float]]:
    """Count calls and the like for one unit of each piece of work."""
    lines = [json.loads(line) for line in _run("calls").splitlines()]
    return {line["name"]: line["counts"] for line in lines}


def count_instructions(valgrind: str) -> dict[str, float]:
    """Count the instructions for one unit of each piece of work, in simple calls."""
    with tempfile.TemporaryDirectory() as folder:
        _run(
            "instructions",
            *(valgrind, "--quiet", "--tool=callgrind", "--instr-atstart=no"),
            f"--callgrind-out-file={folder}/dump",
        )
        dumps = [path.read_text(encoding="utf-8") for path in Path(folder).iterdir()]
    counts = callgrind.counted(dumps)
    simple = counts.pop(SIMPLE_CALL)
    return {name: instructions / simple for name, instructions in counts.items()}


def _run(mode: str, *below: str) -> str:
    # The order of sets and the collisions of dicts are the same in every run.
    variables = {**os.environ, "PYTHONHASHSEED": "0"}
    command = [*below, sys.executable, "-m", "tests.cost.work", mode]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=variables,
        capture_output=True,
        encoding="utf-8",
        timeout=300,  # alone it takes some 30 s
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def main(*names: str) -> None:
    calls = count_calls()
    for name in names:
        functions = {what: count for what, count in calls[name].items() if " " in what}
        for what, count in sorted(functions.items(), key=lambda item: -item[1]):
            if count >= 0.05:
                print(f"{count:10.2f} {what}")
    if names:
        return
    instructions = count_instructions("valgrind")
    print(f"{'':30}", *(f"{kind:>12}" for kind in (*KINDS, "instructions")))
    for name, counts in calls.items():
        figures = [*(counts[kind] for kind in KINDS), instructions.get(name, 1.0)]
        print(f"{name:30}", *(f"{figure:12.2f}" for figure in figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
