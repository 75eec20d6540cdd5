"""One of several processes that serve: gunicorn's worker, with our server inside."""

from __future__ import annotations

import asyncio
import faulthandler
import io
import logging
import mmap
import os
import shutil
import signal
import struct
import sys
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from enum import IntEnum
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, cast

import anyio
from gunicorn.workers.base import Worker as BaseWorker
from quart import Quart

from flowcore import ConfigError, FlowcoreError
from flowcore_http.server import gateway_of
from flowcore_http.serving import run_event_loop, serve_app
from flowcore_http.siblings import Siblings
from flowcore_http.signals import INTERRUPTED, StopSignals

if TYPE_CHECKING:
    from flowcore_http.arbiter import Application

_BEAT_SECONDS = 0.5
_FOR_THE_MASTER = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
_SHARED = struct.Struct("=bd?")
_STOPPING = _SHARED.size
"""Where the master writes, in the memory that it shares with the worker, that all are to stop."""

logger = logging.getLogger("flowcore.http.workers")


class State(IntEnum):
    """What a worker tells its master of itself."""

    STARTING = 0
    SERVING = 1
    FAILED = 2


class Worker(BaseWorker):
    """A process that opens the app for itself and serves it on the shared listening socket.

    Attributes:
        number: Its place among the workers, from 1.
        deaths: How many workers in a row died in this place soon after their start.
        asked_early: Whether a SIGTERM came before there was an event loop.
    """

    number: int
    deaths: int

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Seen by the master as well, for it is made before the fork.
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self.asked_early = False

    # --- what the master sees ---

    @property
    def state(self) -> State:
        """What the worker told of itself."""
        return State(_SHARED.unpack_from(self._shared)[0])

    @property
    def seconds_served(self) -> float:
        """How long it has served until now; 0 if it has not begun."""
        since: float = _SHARED.unpack_from(self._shared)[1]
        return time.monotonic() - since if since else 0.0

    @property
    def was_of_use(self) -> bool:
        """Whether anybody has called a flow in it."""
        return _SHARED.unpack_from(self._shared)[2]

    def announce_stop(self) -> None:
        """Let the worker know that the whole service stops, before it gets its SIGTERM."""
        self._shared[_STOPPING] = 1

    def _tell(self, state: State) -> None:
        since = time.monotonic() if state is State.SERVING else 0.0
        _SHARED.pack_into(self._shared, 0, state, since, False)

    def _note_use(self) -> None:
        state, since, _ = _SHARED.unpack_from(self._shared)
        _SHARED.pack_into(self._shared, 0, state, since, True)

    # --- what the worker does ---

    @property
    def is_among_others(self) -> bool:
        """Whether it serves, and the others go on when it ends."""
        stopping = self._shared[_STOPPING] or os.getppid() != self.ppid
        return self.state is State.SERVING and not stopping

    def init_signals(self) -> None:
        """Remember a SIGTERM until there is an event loop; leave most others to the master."""
        signal.signal(signal.SIGTERM, self._ask_early)
        for number in {*self.SIGNALS, signal.SIGTTIN, signal.SIGTTOU} - {signal.SIGTERM}:
            signal.signal(number, signal.SIG_DFL)
        for number in _FOR_THE_MASTER:
            # Not SIG_IGN, which the programs that an op starts would inherit.
            signal.signal(number, _ignore)
        signal.signal(signal.SIGQUIT, _end_at_once)

    def _ask_early(self, _number: int, _frame: FrameType | None) -> None:
        self.asked_early = True

    def run(self) -> None:
        """Serve until a signal comes or the master is gone."""
        application = cast("Application", self.app)
        _name_log_records(self.number)
        with suppress(io.UnsupportedOperation, AttributeError):
            # Who blocks the event loop for too long is killed by SIGABRT; the stack tells why.
            faulthandler.enable()
        serve = partial(
            serve_app,
            application.app,
            application.settings,
            application.server,
            self.sockets[0],
            partial(_WorkerSignals, self),
            self._beside,
        )
        try:
            interrupted = run_event_loop(serve)
        except Exception as error:
            if self.state is State.SERVING:
                raise
            self._fail(error, application.folder)
        if os.getppid() != self.ppid:
            _leave_empty(application.folder)
        if interrupted:
            sys.exit(INTERRUPTED)

    def _fail(self, error: Exception, folder: Path) -> NoReturn:
        known = isinstance(error, FlowcoreError)
        text = f"Error: {error}\n" if known else "".join(traceback.format_exception(error))
        # All workers fail alike, as a rule; one of them tells why.
        with suppress(OSError):
            if _is_first_to_tell(text, folder):
                print(text, end="", file=sys.stderr, flush=True)
        self._tell(State.FAILED)
        sys.exit(2 if isinstance(error, ConfigError) else 1)

    @asynccontextmanager
    async def _beside(self, quart: Quart) -> AsyncGenerator[None]:
        application = cast("Application", self.app)
        siblings = Siblings(application.folder, os.getpid())
        gateway = gateway_of(quart)
        gateway.runs.siblings = siblings
        gateway.flow_called = self._note_use
        listening = siblings.listening(quart, application.settings)
        async with listening, anyio.create_task_group() as tasks:
            tasks.start_soon(self._beat)
            self._tell(State.SERVING)
            yield
            tasks.cancel_scope.cancel()

    async def _beat(self) -> None:
        orphaned = False
        while True:
            self.notify()
            if os.getppid() != self.ppid and not orphaned:
                orphaned = True
                logger.error("the master process is gone: stopping")
                os.kill(os.getpid(), signal.SIGTERM)
            await anyio.sleep(_BEAT_SECONDS)


class _WorkerSignals(StopSignals):
    """SIGTERM, however often, asks for a clean end; SIGQUIT for one at once.

    The master sends them. A service manager may send SIGTERM to all processes, and a terminal
    SIGINT; so a worker does not take the second for more than the first.

    Where the others go on, a worker refuses nobody: it takes no more connections, so that the
    others get them, and answers what comes over those that it has.
    """

    def __init__(
        self, worker: Worker, at_first: Callable[[], object], at_once: Callable[[], object]
    ) -> None:
        super().__init__(at_first, at_once)
        self._worker = worker

    @contextmanager
    def installed(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain)
        loop.add_signal_handler(signal.SIGQUIT, self._end)
        if self._worker.asked_early:
            self._drain()
        try:
            yield
        finally:
            for number, handler in (
                (signal.SIGTERM, signal.SIG_IGN),
                (signal.SIGQUIT, _end_at_once),
            ):
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def _drain(self) -> None:
        asked = self.retired if self._worker.is_among_others else self.first
        if not (asked.is_set() or self.first.is_set()):
            asked.set()
            self._at_first()

    def _end(self) -> None:
        if not self.second.is_set():
            self.first.set()
            self.second.set()
            self._at_once()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _name_log_records(number: int) -> None:
    make = logging.getLogRecordFactory()

    def make_named(*args: Any, **values: Any) -> logging.LogRecord:
        record = make(*args, **values)
        record.worker = number
        return record

    logging.setLogRecordFactory(make_named)


def _is_first_to_tell(text: str, folder: Path) -> bool:
    path = folder / "failure"
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return path.read_text(encoding="utf-8", errors="replace") not in {text, ""}
    path.write_text(text, encoding="utf-8", errors="replace")
    return True


def _leave_empty(folder: Path) -> None:
    """Remove the folder of a master that is gone, if no other worker is left."""
    if not any(folder.glob("*.sock")):
        shutil.rmtree(folder, ignore_errors=True)
