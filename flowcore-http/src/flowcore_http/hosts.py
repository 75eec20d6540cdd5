"""Which names the service answers to: the rules for the header field ``Host``.

A page that a browser has loaded under a name of its author's can be made to reach this service by
that name (DNS rebinding); and where a name is wrong, the request was meant for somebody else.

Source: RFC 9112, section 3.2, and RFC 3986, section 3.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address

from flowcore_http.exchange import Exchange
from flowcore_http.problem import HttpProblem
from flowcore_http.request_head import bad_host

PROBES = frozenset({"health", "ready"})
"""Endpoints that a supervisor may ask under any name, such as an address of its own."""

_NAME = r"[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\]"
_HOST = re.compile(rf"(?P<name>{_NAME})(?::(?P<port>[0-9]{{0,5}}))?")


def check_host(exchange: Exchange, allowed: Sequence[str]) -> None:
    """Check the ``Host`` of a request.

    Args:
        exchange: The request.
        allowed: Names in lower case: ``example.com``, ``*.example.com`` for all below it, ``*``.

    Raises:
        HttpProblem: 400 unless there is exactly one (in HTTP/1.0, at most one), it is well formed
            and its name is allowed.
    """
    values = exchange.field_values(b"host")
    if len(values) != 1 and (values or exchange.scope["http_version"] >= "1.1"):
        raise bad_host()
    name = _name(values[0]) if values else ""
    if "*" in allowed or exchange.endpoint in PROBES:
        return
    if not any(_matches(name, pattern) for pattern in allowed):
        detail = "This service does not answer to the name in the header Host."
        raise HttpProblem(400, "unknown_host", detail)


@lru_cache(maxsize=64)
def _name(host: str) -> str:
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 0) > 65535 or not _is_literal(match["name"]):
        raise bad_host()
    return match["name"].lower()


def _is_literal(name: str) -> bool:
    """Whether ``name``, if it is in brackets, is an IPv6 address."""
    if name.startswith("["):
        try:
            IPv6Address(name[1:-1])
        except ValueError:
            return False
    return True


def _matches(name: str, pattern: str) -> bool:
    # The dot at the end of a name says that it is complete, and changes nothing here.
    bare = name.removesuffix(".")
    if pattern.startswith("*."):
        return bare.endswith(pattern[1:]) and len(bare) >= len(pattern)
    return bare == pattern
