"""Facts about the machine and the code, without which figures mean nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from benchmarks.cores import Cores

ROOT = Path(__file__).parent.parent
BUSY = 0.5
"""Load of each core, in the last minute, from which on figures are disturbed."""


def facts(cores: Cores) -> dict[str, str]:
    """Return what runs where."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": str(os.cpu_count()),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "pinning": str(cores),
        "other load on the machine at start": other_load(),
    }


def other_load() -> str:
    """Return how busy the machine is before anything is measured, with a warning if it is."""
    if not hasattr(os, "getloadavg"):
        return "not known"
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    warning = "; WARNING: too much, the figures are disturbed" if load > BUSY else ""
    return f"{load:.2f} per core{warning}"


def commit() -> str:
    """Return the commit that is measured, with a mark if files differ from it."""
    found = _git("rev-parse", "--short=12", "HEAD")
    ours = ("flowcore", "flowcore-http", "plugins", "benchmarks", ":!benchmarks/results")
    changed = _git("status", "--porcelain", "--", *ours)
    return f"{found} with changes" if changed else found or "no commit"


def _first(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.decode().strip()
