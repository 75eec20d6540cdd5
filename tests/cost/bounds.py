"""The most that one unit of each piece of work may cost.

To renew the table, after a change that makes something cheaper or dearer for a good reason: run
``python -m tests.cost.measure`` in the environment of the tests and write down what it prints,
calls and instructions with some head-room: calls differ by a few per cent between versions of
Python, instructions (in simple calls, see ``work.py``) by some ten per cent between builds of it.
A send is a system call and a handle a turn through the event loop: they get none, but for one
handle of whole requests, as a busy kernel may hand over in two pieces what was sent.
"""

from __future__ import annotations

from typing import NamedTuple

SIMPLE_CALL = "a simple call"
"""What instructions are compared with, as Pythons are built in many ways; see ``work.py``."""


class Cost(NamedTuple):
    """What one unit costs; `calls.count` says what is counted."""

    calls: float
    c_calls: float
    handles: float
    sends: float
    instructions: float


# One send of each request is the client's, and so are three handles.
BOUNDS = {
    "a chunk of a burst": Cost(10.9, 8.7, 0.02, 0, 18),
    "a run of one op": Cost(148, 100, 3, 0, 122),
    "one more op of a run": Cost(15.4, 16.5, 0, 0, 19),
    "a chunk of a burst over HTTP": Cost(8.9, 6.7, 0.02, 0.01, 13.5),
    "a text of a burst over HTTP": Cost(6.9, 5.7, 0.02, 0.01, 7),
    "a chunk at pace over HTTP": Cost(102, 88, 4.2, 1, 73),
    "a chunk at once over HTTP": Cost(75, 60, 3.1, 1, 52),
    "a request": Cost(420, 345, 9, 2, 350),
    "a stream of one chunk": Cost(510, 400, 12, 4, 420),
    # One send is the model server's, and so is one handle.
    "a delta of a burst": Cost(20, 40, 0.03, 0, 17),
    "a delta at pace": Cost(165, 135, 2.2, 1, 120),
}
