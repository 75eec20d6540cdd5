"""The run that was recorded last, and what is said of it elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from benchmarks.results import from_json
from benchmarks.task import all_tasks

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_the_readme_says_of_its_speed_what_was_recorded(readme: str):
    text = (ROOT / readme).read_text(encoding="utf-8")
    saved = json.loads((ROOT / "benchmarks/results/latest.json").read_text(encoding="utf-8"))
    recorded = {task.task.id: task for task in from_json(all_tasks(), saved["tasks"])}

    said = [int(n) for n in re.findall(r"(?:some|约为.{0,12}?) (\d+) (?:times|倍)", text)]

    measured: list[int] = []
    for task, peer in (("T1", "fastapi"), ("T3", "fastapi_openai")):
        ratio = recorded[task].ratio("flowcore", peer, recorded[task].task.figures[0].name)
        measured.append(int(ratio or 0))
    assert said == measured
