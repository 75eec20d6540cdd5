"""What the ASGI app may know of the connection that its request came over."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol


class Upload(Protocol):
    """The body of a request, which its client may hold back."""

    @property
    def held_back(self) -> bool:
        """Whether the client waits for a sign before it sends the body."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come."""
        ...

    async def ask_for(self) -> None:
        """Give the client that sign."""
        ...


class Peer:
    """The client at the other end of a connection.

    Attributes:
        lost: Why the connection was lost: ``client``, or ``write_timeout`` where the client had
            stopped reading; empty while it stands.
        upload: The body of the current request; None before there was a request.
        gone: Whether nothing that is sent will reach the client.
        write_now: Sends a part of the body of the current answer without waiting, if nothing of
            what was sent before waits for the client; returns whether it did.
    """

    __slots__ = ("_tell", "gone", "lost", "upload", "write_now")

    def __init__(self) -> None:
        self.lost = ""
        self.gone = False
        self.upload: Upload | None = None
        self.write_now: Callable[[bytes], bool] | None = None
        self._tell: Callable[[], object] | None = None

    def when_gone(self, tell: Callable[[], object] | None) -> None:
        """Have ``tell()`` called when the client leaves, or at once if it has; None: nothing."""
        self._tell = tell
        if self.gone:
            self.leave()

    def leave(self) -> None:
        """Take note that the client has left."""
        self.gone = True
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()


current_peer: ContextVar[Peer | None] = ContextVar("flowcore_http_peer", default=None)
"""The client of the current request; None where another server runs the app."""
