"""Ports for servers that have to be told theirs."""

from __future__ import annotations

import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Generator[int]:
    """Reserve a port of 127.0.0.1 that is given to nobody else inside the block.

    A server that sets `SO_REUSEADDR`, as most do, can listen there all the same.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        if sys.platform != "linux":
            sock.close()  # elsewhere one address cannot be bound twice
        yield port
