"""Clients of the suite: streams read event by event over sockets that can be broken in any way."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeVar

T = TypeVar("T")

SECONDS = 15.0
"""Longest wait for something that should come at once."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def until(find: Callable[[], T | None], within: float = SECONDS, what: str = "") -> T:
    """Call ``find`` until it returns something true, and return that."""
    give_up = time.monotonic() + within
    while not (found := find()):
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {within} s: {what or find}; last: {found!r}")
        time.sleep(0.005)
    return found


class Told:
    """What a stream told from its beginning to its end; making it checks that it tells the truth.

    Attributes:
        chunks: All chunks, in order.
        done: Whether the end mark came.
        comments: How many comments came.
    """

    def __init__(self, blocks: list[bytes]) -> None:
        self.comments = sum(block.startswith(b":") for block in blocks)
        events = [data for block in blocks if (data := data_of(block)) is not None]
        self.done = events[-1:] == ["[DONE]"]
        self.chunks: list[dict[str, Any]] = [
            json.loads(data) for data in (events[:-1] if self.done else events)
        ]
        kinds = [chunk["chunk_type"] for chunk in self.chunks]
        if self.done:
            assert blocks[-1].endswith(b"data:[DONE]"), "something follows the end mark"
        assert "error" not in kinds[:-1], "an error chunk is not the last one"
        assert kinds[-1:] != ["error"] or self.done, "no end mark after an error chunk"
        assert all(chunk["chunk"] not in ("", None) for chunk in self.chunks)
        assert len({chunk["flow_id"] for chunk in self.chunks}) <= 1
        ids = [
            int(name.rpartition(b"-")[2]) for b in blocks for name in re.findall(b"(?m)^id:(.*)", b)
        ]
        assert ids == sorted(set(ids)), f"ids that do not rise: {ids}"
        assert all(
            list(chunk) == ["flow_id", "chunk_type", "chunk", "done", "metadata"]
            for chunk in self.chunks
        )

    def of(self, kind: str) -> list[Any]:
        return [chunk["chunk"] for chunk in self.chunks if chunk["chunk_type"] == kind]

    @property
    def text(self) -> str:
        """The answer."""
        return "".join(self.of("answer"))

    @property
    def error(self) -> dict[str, Any] | None:
        """The error chunk."""
        last = self.chunks[-1] if self.chunks else {}
        return last if last.get("chunk_type") == "error" else None

    @property
    def code(self) -> str:
        """The code of the error chunk, empty if there is none."""
        return self.error["metadata"]["code"] if self.error else ""


def data_of(block: bytes) -> str | None:
    """The data of one block of an event stream; None for a comment, or a block without data."""
    lines = block.decode("ascii").split("\n")
    data = [line.removeprefix("data:") for line in lines if line.startswith("data:")]
    known = all(line.startswith(("data:", "id:", "event:", "retry:", ":")) for line in lines)
    assert known, f"a line that is no field: {block!r}"
    assert len(data) <= 1, f"two events in one block: {block!r}"
    return data[0] if data else None


class Stream:
    """One request, a POST if it has inputs, whose events are read as they come.

    Attributes:
        sock: The socket.
        response: The response, its headers read.
    """

    def __init__(
        self,
        port: int,
        path: str,
        inputs: Mapping[str, object] | None,
        headers: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        self.sock = socket.socket()
        self.sock.settimeout(SECONDS)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect(("127.0.0.1", port))
        self._connection.sock = self.sock
        headers = dict(headers or {})
        if inputs is None:
            self._connection.request("GET", path, headers=headers)
        else:
            headers["Content-Type"] = "application/json"
            self._connection.request("POST", path, json.dumps(inputs).encode(), headers)
        self.response = self._connection.getresponse()
        self.blocks: list[bytes] = []
        self._lines: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.leave()

    def block(self) -> bytes | None:
        """Read one event up to its blank line, or a comment; None at the end of the stream."""
        lines = self._lines
        while line := self.response.readline():
            assert line.endswith(b"\n"), f"the stream ended within a line: {line!r}"
            if line.startswith(b":"):
                # The id with which a stream opens belongs to no event yet.
                assert all(known.startswith(b"id:") for known in lines), f"within {lines!r}"
                self.blocks.append(line[:-1])
                return self.blocks[-1]
            if line == b"\n":
                assert lines, "an empty event"
                self.blocks.append(b"\n".join(lines))
                lines.clear()
                return self.blocks[-1]
            lines.append(line[:-1])
        assert all(line.startswith(b"id:") for line in lines), f"ended within {lines!r}"
        return None

    def chunk(self) -> dict[str, Any]:
        """Read the next chunk, passing comments over."""
        for block in iter(self.block, None):
            if (data := data_of(block)) is not None:
                return json.loads(data)
        raise AssertionError("the stream ended before a chunk")

    @property
    def last_id(self) -> str:
        """The last event id that was read."""
        read = b"\n".join([*self.blocks, *self._lines])
        return re.findall(b"(?m)^id:(.*)", read)[-1].decode()

    def rest(self) -> Iterator[bytes]:
        """Read blocks to the end."""
        return iter(self.block, None)

    def told(self) -> Told:
        """Read to the end; what was read before counts."""
        for _ in self.rest():
            pass
        return Told(self.blocks)

    def leave(self) -> None:
        """Close the connection (FIN)."""
        self.response.close()
        self._connection.close()
        self.sock.close()

    def reset(self) -> None:
        """Break the connection (RST)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.leave()

    def half_close(self) -> None:
        """Close the sending side only."""
        self.sock.shutdown(socket.SHUT_WR)


def receive_all(sock: socket.socket) -> bytes:
    """Read until the other side closes or resets."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            received += data
    return received
