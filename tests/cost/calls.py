"""Counts of what the interpreter tells of: they do not depend on the machine."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

KINDS = ("calls", "c_calls", "handles", "sends")


async def count(run: Callable[[int], Awaitable[object]], number: int) -> Counter[str]:
    """Count what happens in this thread while something runs.

    - `calls`: of Python functions, and each resumption of a coroutine;
    - `c_calls`: of functions that are written in C;
    - `handles`: callbacks and steps of tasks that the event loop ran;
    - `sends`: what was handed to a socket, also by the client.

    What contains a blank is the name of a function, and how often it was called.
    """
    counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))

    def tell(frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event == "call":
            counts["calls"] += 1
            counts[f"{Path(code.co_filename).name}:{code.co_firstlineno} {code.co_qualname}"] += 1
            if code.co_name == "_run" and code.co_filename.endswith("events.py"):
                counts["handles"] += 1
        elif event == "c_call":
            counts["c_calls"] += 1
            counts[f"{Path(code.co_filename).name} uses {arg.__qualname__}"] += 1
            if arg.__name__.startswith("send") and isinstance(arg.__self__, socket.socket):
                counts["sends"] += 1

    sys.setprofile(tell)
    try:
        await run(number)
    finally:
        sys.setprofile(None)
    return counts
