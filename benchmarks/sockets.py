"""Requests on bare sockets, for answers that are to be read slowly or not at all."""

from __future__ import annotations

import resource
import socket

from benchmarks.peer import Request
from benchmarks.server import MeasurementError, Server

ANSWER_SECONDS = 30.0


def raise_file_limit() -> None:
    """Let this process, and what it starts, open as many files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def encoded(path: str, body: bytes) -> bytes:
    """Return a POST request of HTTP/1.1."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Accept: */*\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def ask(server: Server, request: Request) -> socket.socket:
    """Connect and send a request; its answer is left unread.

    Raises:
        MeasurementError: The server accepts no connection.
    """
    try:
        sock = socket.create_connection(("127.0.0.1", server.port), ANSWER_SECONDS)
    except OSError as error:
        raise MeasurementError(f"no connection: {error!r}; {server.log()}") from error
    sock.sendall(encoded(request.path, request.body))
    return sock


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    """Read until a mark has come, and return what came.

    Raises:
        MeasurementError: It does not come.
    """
    data = b""
    while mark not in data[-200_000:]:
        try:
            more = sock.recv(65536)
        except OSError as error:
            raise MeasurementError(f"no {mark!r}: {error!r} after {data[-300:]!r}") from error
        if not more:
            raise MeasurementError(f"no {mark!r}: the connection ended after {data[-300:]!r}")
        data += more
    return data


def is_open(sock: socket.socket) -> bool:
    """Say whether the server still keeps the connection; what has come is thrown away."""
    sock.setblocking(False)
    try:
        while sock.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
