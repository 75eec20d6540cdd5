"""The bytes of the head of a request, beside a parser."""

from __future__ import annotations

import re
from typing import NamedTuple

from flowcore_http.problem import HttpProblem
from flowcore_http.request_head import (
    MAX_HEAD_BYTES,
    fault_of_line,
    fault_of_lines,
    fault_of_size,
    malformed,
)

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n")
_SPACE = 0x20


class RequestHead(NamedTuple):
    """The head of a request, its fields as far as they are known; see :class:`Head`."""

    method: bytes
    target: bytes
    http_version: bytes
    headers: list[tuple[bytes, bytes]]


def head_of(received: bytes) -> RequestHead | None:
    """Return the first line of a head, if it is there and is one."""
    line = _REQUEST_LINE.match(received)
    return None if line is None else RequestHead(line[1], line[2], line[3], [])


def fault_of_part(
    received: bytes, head: RequestHead | None, *, is_whole: bool
) -> HttpProblem | None:
    """Return what is wrong with a head, without regard to its fields, or None.

    Args:
        received: As much of it as has come.
        head: Its first line.
        is_whole: Whether that is all of it.
    """
    if (problem := fault_of_lines(received)) is not None:
        return problem
    if head is not None:
        problem = fault_of_line(head)
    elif b"\r\n" in received or received[0] <= _SPACE:
        problem = malformed("its first line is not a method, a target and a version")
    if problem is None and not is_whole and len(received) > MAX_HEAD_BYTES:
        problem = fault_of_size(received)
    return problem
