"""What answers the requests for one path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from flowcore_http.exchange import Exchange
from flowcore_http.problem import HttpProblem


class Endpoint(NamedTuple):
    """What answers the requests for one path.

    Attributes:
        name: Its name, such as ``flow:demo``.
        route: Its path as declared, such as ``/runs/<run_id>``.
        answer: Answers a request that was let in.
    """

    name: str
    route: str
    answer: Callable[[Exchange], Awaitable[None]]


async def check_method(exchange: Exchange, method: str, advice: str = "") -> bool:
    """Return whether a request has the method of its endpoint; OPTIONS is answered here.

    Args:
        exchange: The request.
        method: The method, ``GET`` or ``POST``; who may GET may also ask for the HEAD.
        advice: What to tell of the method to who sends another.

    Raises:
        HttpProblem: 405 if it has another method.
    """
    if exchange.method == method or (method == "GET" and exchange.method == "HEAD"):
        return True
    allowed = "GET, HEAD, OPTIONS" if method == "GET" else f"OPTIONS, {method}"
    if exchange.method != "OPTIONS":
        detail = f"Send a {method} request, not {exchange.method[:20]}.{advice and f' {advice}'}"
        raise HttpProblem(405, "method_not_allowed", detail, {"Allow": allowed})
    await exchange.answer(200, [(b"allow", allowed.encode())])
    return False
