"""What a chunk, a run, an op and a request cost, without taking the time.

A machine that is busy or slow changes nothing here. The bounds are in ``bounds.py``.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping

import pytest

from tests.cost.bounds import BOUNDS, SIMPLE_CALL
from tests.cost.calls import KINDS
from tests.cost.measure import count_calls, count_instructions
from tests.tools import find_tool


def over(kind: str, measured: Mapping[str, float]) -> list[str]:
    """Tell which pieces of work cost more than they may."""
    assert set(measured) == set(BOUNDS)
    return [
        f"{name} takes {measured[name]:.2f} {kind}, more than {getattr(bound, kind)}; "
        f'to see which: python -m tests.cost.measure "{name}"'
        for name, bound in BOUNDS.items()
        if measured[name] > getattr(bound, kind)
    ]


def test_nothing_takes_more_calls_turns_of_the_loop_or_sends_than_it_did():
    counted = count_calls()
    del counted[SIMPLE_CALL]

    complaints = [
        complaint
        for kind in KINDS
        for complaint in over(kind, {name: counts[kind] for name, counts in counted.items()})
    ]

    assert not complaints, "\n".join(complaints)


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="callgrind is told when to count by instructions of x86-64, and runs on Linux",
)
@pytest.mark.valgrind
def test_nothing_takes_more_instructions_than_it_did():
    valgrind = find_tool("valgrind", package="valgrind")

    complaints = over("instructions", count_instructions(valgrind))

    assert not complaints, "\n".join(complaints)
