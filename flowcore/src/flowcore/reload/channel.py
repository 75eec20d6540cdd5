"""Messages between the supervisor and a child; on POSIX they can carry sockets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

CAN_PASS_SOCKETS = sys.platform != "win32"
"""Whether a listening socket can be used in the next process as well."""

_READ_BYTES = 65_536
_MAX_SOCKETS = 16


class Message(NamedTuple):
    """One message.

    Attributes:
        kind: What it is about.
        data: What it says.
        sockets: The sockets that came with it, now of this process.
    """

    kind: str
    data: Mapping[str, Any]
    sockets: Sequence[socket.socket] = ()


class Channel:
    """One end of a connection that ends when the process at the other end does.

    Args:
        sock: The connected socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self._received: deque[int] = deque()

    def send(self, kind: str, *sockets: socket.socket, **data: Any) -> None:
        """Send a message; if the other process has ended, nothing happens."""
        line = json.dumps({"kind": kind, "sockets": len(sockets), **data}).encode() + b"\n"
        with self._sending, suppress(OSError):
            if sockets:
                # Together with the first byte, and never again with the rest.
                numbers = [sock.fileno() for sock in sockets]
                sent = socket.send_fds(self._sock, [line], numbers)
                line = line[sent:]
            self._sock.sendall(line)

    def __iter__(self) -> Iterator[Message]:
        """Wait for messages, until the other process has ended."""
        pending = b""
        with suppress(OSError):
            while data := self._read():
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    content: dict[str, Any] = json.loads(line)
                    count: int = content.pop("sockets")
                    sockets = [socket.socket(fileno=self._received.popleft()) for _ in range(count)]
                    yield Message(content.pop("kind"), content, sockets)

    def _read(self) -> bytes:
        if not CAN_PASS_SOCKETS:
            return self._sock.recv(_READ_BYTES)
        data, numbers, _, _ = socket.recv_fds(self._sock, _READ_BYTES, _MAX_SOCKETS)
        for number in numbers:
            os.set_inheritable(number, False)
        self._received += numbers
        return data

    def close(self) -> None:
        """Close this end; whoever waits for messages has seen the last one then."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def start(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], Channel]:
    """Start a child; the last argument that it gets is for :func:`connect`.

    Raises:
        OSError: If it cannot be started.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        if sys.platform == "win32":
            process = subprocess.Popen(  # noqa: S603 - our own command
                [*command, "0"],
                stdin=subprocess.PIPE,
                # Ctrl-C is for the supervisor only, which tells the child.
                creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
            )
            with process.stdin:
                process.stdin.write(theirs.share(process.pid))
        else:
            number = theirs.fileno()
            process = subprocess.Popen([*command, str(number)], pass_fds=[number])  # noqa: S603
    return process, Channel(ours)


def connect(number: int) -> Channel:
    """Return a child's end of the channel, from the argument that it got."""
    if sys.platform == "win32":
        return Channel(socket.fromshare(sys.stdin.buffer.read()))
    # What an op starts shall not keep it open.
    os.set_inheritable(number, False)
    return Channel(socket.socket(fileno=number))
