"""What holds for a connection, and for one beyond the limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flowcore_http.accepting import fault_beyond_the_limit
from flowcore_http.problem import HttpProblem
from flowcore_http.request_head import Head

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework

_BRIEF_SECONDS = 1.0


@dataclass(frozen=True)
class Rules:
    """What holds for a connection.

    Attributes:
        app: The ASGI app that answers.
        keep_alive_timeout: Seconds within which the head of a request has to arrive.
        most_requests: How many requests are answered.
        check: Tells which requests are refused before the app sees them.
        refused: Called with what answers a request that the app never sees.
        running: The tasks in which the app answers, also those of other connections.
    """

    app: ASGIFramework
    keep_alive_timeout: float
    most_requests: float
    check: Callable[[Head], HttpProblem | None]
    refused: Callable[[HttpProblem], object]
    running: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])


def brief(rules: Rules) -> Rules:
    """Return what holds for a connection beyond the limit."""

    def check(head: Head) -> HttpProblem | None:
        return rules.check(head) or fault_beyond_the_limit(head.target)

    return replace(rules, keep_alive_timeout=_BRIEF_SECONDS, most_requests=1, check=check)
