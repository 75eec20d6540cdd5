"""How many runs a client may have at the same time."""

from __future__ import annotations

from collections import Counter

from flowcore import Run
from flowcore_http.problem import HttpProblem


class RunQuota:
    """Counts the runs of each client while they run.

    Args:
        most: How many a client may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: Counter[str] = Counter()

    def check(self, client: str) -> None:
        """Check that a client may start a run.

        Raises:
            HttpProblem: 429 if it has as many as it may.
        """
        if self._running.get(client, 0) >= self._most:
            what = "1 run is" if self._most == 1 else f"{self._most} runs are"
            detail = f"{what} in progress, which is the limit; wait for one to end or cancel it."
            raise HttpProblem(429, "too_many_runs_of_key", detail, {"Retry-After": "1"})

    def count(self, client: str, run: Run) -> None:
        """Count a run that was started right after :meth:`check`, until it ends."""
        self._running[client] += 1
        run.add_done_callback(lambda _: self._release(client))

    def _release(self, client: str) -> None:
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]
