"""A clock of the machine that somebody sets all the time, by a day forwards and backwards."""

from __future__ import annotations

import itertools
import time

_true_time = time.time
_leaps = itertools.cycle([0.0, 86_400.0, -86_400.0, 3.0])


def _leaping_time() -> float:
    return _true_time() + next(_leaps)


time.time = _leaping_time
