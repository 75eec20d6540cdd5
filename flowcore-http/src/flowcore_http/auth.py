"""Who may ask: every endpoint wants a key, save those that are listed here.

Source: RFC 6750, "Bearer Token Usage"; RFC 9110, section 11, for the header fields.
"""

from __future__ import annotations

import re

from flowcore_http.exchange import Exchange
from flowcore_http.keys import Keys
from flowcore_http.problem import HttpProblem

PUBLIC = frozenset(
    {"docs.css", "docs.html", "docs.js", "health", "playground", "playground_asset", "ready"}
)
"""Endpoints, by name, that tell nothing about the flows."""

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)


def caller_of(exchange: Exchange, keys: Keys) -> str:
    """Return the name of the key that a request bears; empty at a public endpoint.

    What decides is the endpoint that the request would reach, not how its path is spelt. A path
    that leads nowhere wants a key as well, so that nobody learns which flows there are.

    Raises:
        HttpProblem: 401 unless the request bears exactly one key, which is known.
    """
    if exchange.endpoint in PUBLIC:
        return ""
    fields = exchange.field_values(b"authorization")
    match = _BEARER.fullmatch(fields[0]) if len(fields) == 1 else None
    caller = keys.holder(match[1] if match else "")
    if not caller:
        detail = "Send a valid key in the header Authorization: Bearer KEY."
        raise HttpProblem(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})
    return caller
