"""What a service gets that may be replaced by another process while it serves."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from flowcore.interruption import INTERRUPTED
from flowcore.reload.channel import Channel, Message

logger = logging.getLogger("flowcore")

_GONE = "the process that watches the files is gone: stopping"


class HandoverRequest(StrEnum):
    """What a service that runs under a supervisor can be asked for."""

    RETIRE = "retire"
    """Another process serves now: take nothing new, and end when what runs has ended."""

    STOP = "stop"
    """End as after SIGTERM: nothing serves after this."""

    END = "end"
    """End at once."""


class Handover:
    """Joins the processes that serve one after the other with ``flowcore serve --reload``.

    Args:
        channel: Leads to the supervisor.

    Attributes:
        is_first: Whether no process served before this one.
        folder: A private folder that all of them share. What a process leaves there under its
            number, as in ``1234.sock``, is removed after its end.
        over: Set when the service has ended.
    """

    def __init__(self, channel: Channel) -> None:
        self.is_first = True
        self.folder = Path()
        self.over = threading.Event()
        self._channel = channel
        self._kept: dict[str, socket.socket] = {}
        self._go = threading.Event()
        self._lock = threading.Lock()
        self._asked: list[HandoverRequest] = []
        self._answer: Callable[[HandoverRequest], object] | None = None
        self._orphaned = False

    # --- for the service ---

    def inherited(self, name: str) -> socket.socket | None:
        """Return what the process before kept under ``name``; it is the caller's from then on."""
        return self._kept.pop(name, None)

    def keep(self, name: str, sock: socket.socket) -> None:
        """Keep a copy of a socket for the process that will come after this one."""
        self._channel.send("keep", sock, name=name)

    def serving(self) -> None:
        """Tell that the service answers from now on: the process before may retire."""
        for sock in self._kept.values():
            sock.close()
        self._kept.clear()
        self._channel.send("serving")

    def on_request(self, answer: Callable[[HandoverRequest], object]) -> None:
        """Have ``answer`` called with each request, in a thread of its own.

        Until then a request ends the process.
        """
        with self._lock:
            self._answer = answer
            asked, self._asked = self._asked, []
        for request in asked:
            answer(request)

    def answer_by_signal(self) -> None:
        """Let a request be a signal, for what knows no other way to end: SIGTERM, if there is."""
        self.on_request(_ask_by_signal)

    # --- for the process ---

    def listen(self) -> None:
        """Begin to listen to the supervisor."""
        threading.Thread(target=self._listen, name="flowcore reload", daemon=True).start()

    def wait_for_turn(self) -> None:
        """Wait until this process may begin to serve."""
        self._go.wait()

    def loaded(self, files: set[Path], *, overlaps: bool) -> None:
        """Tell what has been loaded, and whether this process need not wait for the one before."""
        self._channel.send("loaded", files=sorted(map(str, files)), overlaps=overlaps)

    def loaded_more(self, files: set[Path]) -> None:
        """Tell what has been loaded by now."""
        self._channel.send("more", files=sorted(map(str, files)))

    def failed(self, files: set[Path]) -> None:
        """Tell which files may be at fault."""
        self._channel.send("failed", files=sorted(map(str, files)))

    def close(self) -> None:
        """Note that the service has ended, and tidy up after a supervisor that is gone."""
        self.over.set()
        if self._orphaned:
            # The last process leaves it empty.
            with suppress(OSError):
                self.folder.rmdir()

    def _listen(self) -> None:
        for message in self._channel:
            if message.kind == "go":
                self._begin(message)
            else:
                self._ask(HandoverRequest(message.kind))
        self._orphaned = True
        logger.error(_GONE)
        self._ask(HandoverRequest.STOP)

    def _begin(self, message: Message) -> None:
        data: Mapping[str, object] = message.data
        names = data["names"]
        assert isinstance(names, list)  # noqa: S101 - for the type checker
        self._kept = dict(zip(map(str, names), message.sockets, strict=True))  # pyright: ignore[reportUnknownArgumentType]
        self.is_first = bool(data["first"])
        self.folder = Path(str(data["folder"]))
        self._go.set()

    def _ask(self, request: HandoverRequest) -> None:
        if not self._go.is_set():
            # There is nothing to finish, and what is loaded may take its time.
            os._exit(0)
        with self._lock:
            if self._answer is None:
                self._asked.append(request)
                return
        self._answer(request)


def _ask_by_signal(request: HandoverRequest) -> None:
    if request is HandoverRequest.END:
        os._exit(INTERRUPTED)
    if sys.platform == "win32":
        import _thread  # noqa: PLC0415

        _thread.interrupt_main()
    else:
        os.kill(os.getpid(), signal.SIGTERM)
