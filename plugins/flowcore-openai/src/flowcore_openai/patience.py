"""The deadlines of one attempt."""

from __future__ import annotations

import math

import anyio


class Patience:
    """Knows how long the next wait may last.

    Waits are counted on data: what brings none does not begin a new idle time. Time that the
    reader of the chunks takes is not idle time of the upstream.

    Args:
        give_up_at: End of the total timeout, on the clock of the event loop.
        first_token: Seconds from now until content must have arrived; None for no limit.
        idle: Seconds of waiting without data, once content has arrived; None for no limit.
    """

    def __init__(
        self, give_up_at: float, first_token: float | None = None, idle: float | None = None
    ) -> None:
        self._give_up_at = give_up_at
        self._first_token_at = anyio.current_time() + (first_token or math.inf)
        self._idle = idle or math.inf
        self._waited = 0.0
        self._content = False

    def limit(self, now: float) -> tuple[float, str]:
        """Return when a wait that begins now has to end, and the code of the error if it does."""
        if self._content:
            limit = now + self._idle - self._waited, "upstream_timeout_idle"
        else:
            limit = self._first_token_at, "upstream_timeout_first_token"
        return min(limit, (self._give_up_at, "upstream_timeout_total"))

    def waited(self, seconds: float) -> None:
        """Note that a wait has ended, whatever it brought."""
        self._waited += seconds

    def heard(self, *, content: bool) -> None:
        """Note that data has arrived, and whether there has been any content yet."""
        self._waited = 0.0
        self._content = content


def give_up_at(total: float | None) -> float:
    """Return when a total timeout that begins now ends, on the clock of the event loop."""
    return anyio.current_time() + (total or math.inf)
