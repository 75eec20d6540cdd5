"""The process that has others serve, and replaces them when files change."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import cache_from_source
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

from flowcore.interruption import INTERRUPTED
from flowcore.reload.channel import CAN_PASS_SOCKETS, Channel, Message, start
from flowcore.reload.handover import HandoverRequest
from flowcore.reload.snapshot import Snapshot
from flowcore.reload.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Generator

ECHO_SECONDS = 0.1
"""How long after the first signal another one is taken for its echo."""

_POLL_SECONDS = 1.0
_STEADY_SECONDS = 0.1
_RESTLESS_SECONDS = 2.0
_MISSING_SECONDS = 0.5
_KILL_SECONDS = 2.0
_LONGEST_TEMPORARY = 72

Event = Callable[[], object]


@dataclass(eq=False)
class Child:
    """A process that serves, will or did.

    Attributes:
        process: The process.
        channel: Leads to it.
        began: When it was started, as :func:`time.time`.
        because: Why it was started; empty for the first one.
        kept: The sockets that it keeps for the next one.
        overlaps: Whether it can begin while another one serves.
        waits: Whether it is ready, and waits until the other one has ended.
        has_begun: Whether it was told to begin.
    """

    process: subprocess.Popen[bytes]
    channel: Channel
    because: str
    began: float = field(default_factory=time.time)
    kept: dict[str, socket.socket] = field(default_factory=dict[str, socket.socket])
    overlaps: bool = False
    waits: bool = False
    has_begun: bool = False


class Supervisor:
    """Starts a process that serves, and another one whenever a file has changed.

    The first SIGINT or SIGTERM lets what serves end in its own time, the second at once.

    Args:
        command: Starts a process that serves, with one more argument; see
            :func:`flowcore.reload.child.serve_in_turn`.
        includes: Files and folders to watch beside what has been loaded.
        say: Tells the user something.
    """

    def __init__(
        self, command: Sequence[str], includes: Iterable[Path], say: Callable[[str], object]
    ) -> None:
        self._command = command
        self._say = say
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._snapshot = Snapshot(includes)
        self._watcher = Watcher(lambda: self._events.put(_nothing))
        self._children: set[Child] = set()
        self._serving: Child | None = None
        self._starting: Child | None = None
        self._kept: dict[str, socket.socket] = {}
        self._folder = Path()
        self._told = False
        self._asked_at: float | None = None
        self._kill_at: float | None = None
        self._code = 0

    def run(self) -> int:
        """Serve until a signal comes; return the exit code."""
        with self._shared_folder(), self._signals():
            try:
                self._start("")
                while self._asked_at is None or self._children:
                    self._take_event()
            finally:
                self._watcher.stop()
                for child in self._children:
                    child.process.kill()
                for sock in self._kept.values():
                    sock.close()
        return self._code

    def _take_event(self) -> None:
        seconds = _POLL_SECONDS
        if self._kill_at is not None:
            seconds = min(seconds, max(self._kill_at - time.monotonic(), 0.0))
        try:
            self._events.get(timeout=seconds)()
        except Empty:
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                for child in self._children:
                    child.process.kill()
        if self._asked_at is None:
            self._look()

    # --- files ---

    def _look(self) -> None:
        """Start another process if files have changed, and change no more."""
        changes = self._snapshot.changes()
        if not changes:
            return
        began = time.monotonic()
        while (waited := time.monotonic() - began) < _RESTLESS_SECONDS:
            time.sleep(_STEADY_SECONDS)
            before, changes = changes, self._snapshot.changes()
            # A file that is gone may be on its way back, as some editors write.
            patient = None in changes.values() and waited < _MISSING_SECONDS
            if changes == before and not patient:
                break
        if not changes:
            return
        self._snapshot.renew()
        self._watcher.watch(self._snapshot.folders)
        names = [_shown(path) for path in changes]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        self._start(f"{names[0]}{more} changed", changes)

    # --- processes ---

    def _start(self, because: str, changes: Iterable[Path] = ()) -> None:
        if self._starting is not None:
            # What it has loaded is out of date before it serves.
            if self._starting.has_begun:
                # It may have accepted a connection by now.
                self._starting.channel.send(HandoverRequest.RETIRE)
            else:
                self._starting.process.kill()
            because = because or self._starting.because
            self._starting = None
        _forget_compiled(changes)
        try:
            process, channel = start(self._command)
        except OSError as error:
            self._say(f"cannot start a process: {error}")
            return
        child = self._starting = Child(process, channel, because)
        self._children.add(child)
        for work in (self._listen, self._wait):
            threading.Thread(target=work, args=(child,), daemon=True).start()

    def _listen(self, child: Child) -> None:
        for message in child.channel:
            self._events.put(lambda message=message: self._take(child, message))

    def _wait(self, child: Child) -> None:
        code = child.process.wait()
        self._events.put(lambda: self._take_end(child, code))

    def _take(self, child: Child, message: Message) -> None:
        if message.kind == "keep":
            child.kept[message.data["name"]] = message.sockets[0]
        elif child is self._starting and message.kind == "serving":
            self._replace_by(child)
        elif child in {self._starting, self._serving}:
            files = map(Path, message.data["files"])
            if message.kind == "loaded":
                self._snapshot.replace(files, child.began)
                child.overlaps = message.data["overlaps"] and CAN_PASS_SOCKETS
                self._let_begin(child)
            else:
                self._snapshot.add(files, child.began)
            self._watcher.watch(self._snapshot.folders)

    def _let_begin(self, child: Child) -> None:
        if self._serving is not None and not child.overlaps:
            child.waits = True
            self._serving.channel.send(HandoverRequest.STOP)
            return
        child.waits, child.has_begun = False, True
        child.channel.send(
            "go",
            *self._kept.values(),
            names=[*self._kept],
            first=not self._told,
            folder=str(self._folder),
        )

    def _replace_by(self, child: Child) -> None:
        before, self._serving, self._starting = self._serving, child, None
        if before is not None:
            before.channel.send(HandoverRequest.RETIRE)
        for sock in self._kept.values():
            sock.close()
        self._kept, child.kept = child.kept, {}
        if not self._told:
            self._told = True
            self._say(f"{self._snapshot.count} files are watched; what changes is loaded anew")
        else:
            seconds = time.time() - child.began
            self._say(f"reloaded in {seconds:.1f} s: {child.because or 'as before'}")

    def _take_end(self, child: Child, code: int) -> None:
        self._children.discard(child)
        child.channel.close()
        for sock in child.kept.values():
            sock.close()
        for path in self._folder.glob(f"{child.process.pid}.*"):
            path.unlink(missing_ok=True)
        if self._asked_at is not None:
            if child is self._serving and not self._code:
                self._code = max(code, 0)
        elif child is self._serving:
            self._serving = None
            if self._starting is not None and self._starting.waits:
                self._let_begin(self._starting)
            elif self._starting is None:
                self._say(f"the service {_ending(code)}; it starts again when a file changes")
        elif child is self._starting:
            self._starting = None
            because = f"not reloaded, {child.because}" if child.because else "not started"
            if self._serving is not None:
                self._say(f"{because}: see above; what was loaded before serves on")
            else:
                self._say(f"{because}: the process {_ending(code)}; waiting for a change")

    # --- the end ---

    def _take_signal(self) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            self._ask(HandoverRequest.STOP)
        elif now - self._asked_at > ECHO_SECONDS and self._kill_at is None:
            self._kill_at = now + _KILL_SECONDS
            self._code = INTERRUPTED
            self._ask(HandoverRequest.END)

    def _ask(self, request: HandoverRequest) -> None:
        for child in self._children:
            child.channel.send(request)

    @contextmanager
    def _signals(self) -> Generator[None]:
        def take(_number: int, _frame: FrameType | None) -> None:
            self._events.put(self._take_signal)

        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, take) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def _shared_folder(self) -> Generator[None]:
        temporary = tempfile.gettempdir()
        # The path of a Unix socket has at most 103 characters on some systems.
        is_long = sys.platform != "win32" and len(temporary) > _LONGEST_TEMPORARY
        self._folder = Path(tempfile.mkdtemp(prefix="flowcore-", dir="/tmp" if is_long else None))  # noqa: S108
        try:
            yield
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def say_on_stderr(text: str) -> None:
    """Tell the user of the command something."""
    # Whoever read our output may have left; the service goes on.
    with suppress(OSError):
        # In one piece, or what a child writes may come between.
        sys.stderr.write(f"flowcore: {text}\n")
        sys.stderr.flush()


def _forget_compiled(paths: Iterable[Path]) -> None:
    """Remove what Python has compiled of modules that have changed.

    It looks at size and whole seconds only, and takes what was saved twice in one for the same.
    """
    for path in paths:
        if path.suffix == ".py":
            with suppress(OSError, NotImplementedError):
                Path(cache_from_source(path)).unlink()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _nothing() -> None:
    pass
