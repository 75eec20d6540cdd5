"""How many files the process may have open, which bounds the connections that it can hold."""

from __future__ import annotations

import logging
import sys

if sys.platform != "win32":
    import resource

SPARE = 64
"""Files for all else: the listening socket, the log, clients that only ask for the health."""

_FALLBACK = 10_240
"""The most that macOS grants where it claims to have no limit."""

logger = logging.getLogger("flowcore.http")


def connections_within_limit(wanted: int) -> int:
    """Return how many connections can be held: ``wanted``, or fewer where files are short.

    The limit of the process is raised as far as it may raise it itself. Where that is not enough, a
    warning says so.
    """
    files = _raise_limit()
    if files is None or wanted + SPARE <= files:
        return wanted
    possible = max(files - SPARE, 1)
    logger.warning(
        "http.max_connections is %d, but the process may open only %d files; it will hold %d "
        "connections. Raise the limit (ulimit -n, LimitNOFILE=), or set http.max_connections.",
        wanted,
        files,
        possible,
    )
    return possible


def most_files() -> int | None:
    """Return how many files the process may have open once it has raised its limit, if any."""
    if sys.platform == "win32":
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    return hard if hard != resource.RLIM_INFINITY else max(soft, _FALLBACK)


def _raise_limit() -> int | None:
    if sys.platform == "win32":
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, _FALLBACK)
    if soft not in {resource.RLIM_INFINITY, wanted}:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            wanted = soft
        soft = wanted
    return None if soft == resource.RLIM_INFINITY else soft
