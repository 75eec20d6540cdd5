"""What is to be quick, on a machine that may be busy."""

from __future__ import annotations

from collections.abc import Callable


def is_within(seconds: float, measure: Callable[[str], float], key: str) -> bool:
    """Tell whether one of three tries takes less than so many seconds.

    A busy machine makes one of them late; a fault makes all of them so.

    Args:
        seconds: The limit.
        measure: Does what is measured, and returns how many seconds that took.
        key: What it is called with, and the number of the try behind it.
    """
    return any(measure(f"{key}-{number}") < seconds for number in range(3))
