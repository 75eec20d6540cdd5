"""The soak test, for seconds instead of minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc, which other systems lack")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_short_soak_leaves_nothing_behind(workers: int):
    arguments = ["--minutes", "0.15", "--streams", "12", "--workers", str(workers)]
    soak = [sys.executable, "-m", "benchmarks.soak", *arguments]

    done = subprocess.run(
        soak, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=100, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all well\n")
