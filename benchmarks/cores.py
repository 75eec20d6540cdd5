"""One core for the server under test, another for the load."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager


def available() -> list[int]:
    """Return the cores that this process may use, or none where that cannot be asked."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


class Cores:
    """Where servers and load run.

    Attributes:
        server: The core of the servers, or None where processes cannot be pinned.
        load: The core of the load; the same as the server's on a machine of one core.
    """

    def __init__(self) -> None:
        cores = available()
        self.server = cores[0] if cores else None
        self.load = cores[-1] if cores else None
        self._all = cores

    @contextmanager
    def on(self, core: int | None) -> Generator[None]:
        """Pin this process, and what it starts meanwhile."""
        _pin([core] if core is not None else [])
        try:
            yield
        finally:
            _pin(self._all)

    def __str__(self) -> str:
        if self.server is None:
            return "server and load share all cores: this platform cannot pin processes"
        if self.server == self.load:
            return "server and load share the only core: figures of wall time mean little"
        return f"server on core {self.server}, load on core {self.load}"


def _pin(cores: list[int]) -> None:
    if sys.platform == "linux" and cores:
        os.sched_setaffinity(0, cores)
