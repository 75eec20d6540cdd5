"""The master of several processes: gunicorn's, with the promises of the service.

What differs from gunicorn: SIGINT drains as SIGTERM does, and a second signal ends all at once; a
process that ends by itself is replaced at once, then with growing delays, then no more; signals
that would reload or replace the program do nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger

from flowcore import FlowApp
from flowcore_http.servers import Server
from flowcore_http.serving import EXIT_SECONDS, OVERDUE_SECONDS, announce
from flowcore_http.settings import HttpSettings
from flowcore_http.siblings import socket_path
from flowcore_http.signals import ECHO_SECONDS, INTERRUPTED
from flowcore_http.worker import State, Worker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gunicorn.sock import BaseSocket

TRIES = 6
"""After how many early deaths in a row, in the place of one worker, the service ends."""

SETTLED_SECONDS = 5.0
"""How long a process must have served for its death to be no sign of a fault at the start."""

_FIRST_DELAY = 0.5
_POLL_SECONDS = 0.05
_RESEND_SECONDS = 0.5
_GRACE_SECONDS = 2.0

logger = logging.getLogger("flowcore.http.workers")


@dataclass(frozen=True)
class Vacancy:
    """A place for a worker that is to be filled.

    Attributes:
        number: Number of the worker, from 1.
        deaths: How many workers in a row died here early.
        due: When to fill it, on the monotonic clock.
    """

    number: int
    deaths: int = 0
    due: float = 0.0


def delay_before(deaths: int) -> float:
    """Return how long to wait before a worker is replaced, after so many early deaths in a row."""
    return 0.0 if deaths < 2 else _FIRST_DELAY * 2 ** (deaths - 2)


class Application(BaseApplication):
    """What gunicorn's master and workers are to know.

    Args:
        app: The flows, not opened.
        settings: Settings of the service.
        server: What carries the service in each worker.
        folder: Private folder of this service.
    """

    def __init__(self, app: FlowApp, settings: HttpSettings, server: Server, folder: Path) -> None:
        self.app = app
        self.settings = settings
        self.server = server
        self.folder = folder
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's settings."""
        values: dict[str, Any] = {
            "workers": self.settings.workers,
            "worker_class": Worker,
            "worker_tmp_dir": str(self.folder),
            "timeout": self.settings.worker_timeout or 0,
            "logger_class": _Logger,
            "control_socket_disable": True,
            "pre_fork": _assign,
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Return what the workers are to serve."""
        return self.app


class _Logger(Logger):
    """Sends gunicorn's messages to the log of the program."""

    def setup(self, cfg: object) -> None:  # noqa: ARG002
        self.error_log = logger

    def reopen_files(self) -> None:
        pass


class ServiceArbiter(Arbiter):
    """The master process.

    Args:
        application: What the workers are to serve.
        sock: The listening socket, which they share.
    """

    def __init__(self, application: Application, sock: socket.socket) -> None:
        super().__init__(application)
        self.LISTENERS.append(cast("BaseSocket", sock))
        self.application = application
        self.pid = os.getpid()
        self.interrupted = False
        self.unclean = False
        self.vacancies = [Vacancy(n + 1) for n in range(application.settings.workers)]
        self.filling = self.vacancies[0]
        self.forked: Worker
        self._sock = sock
        self._announced = False
        self._asked_at: float | None = None

    # --- signals ---

    def signal(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Take a signal; SIGINT and SIGTERM are one, and the second of them is a SIGQUIT."""
        if os.getpid() != self.pid:
            # In a worker that was forked a moment ago, and has no handlers of its own yet.
            self.forked.asked_early |= sig == signal.SIGTERM
            return
        if sig in (signal.SIGINT, signal.SIGTERM):
            now = time.monotonic()
            if self._asked_at is None:
                self._asked_at = now
                sig = signal.SIGTERM
            elif now - self._asked_at > ECHO_SECONDS:
                sig = signal.SIGQUIT
            else:
                return
        self.SIG_QUEUE.put_nowait(sig)

    def handle_quit(self) -> None:
        """End at once."""
        self.interrupted = True
        raise StopIteration

    def handle_hup(self) -> None:
        """Say that there is no reload."""
        logger.warning("SIGHUP: there is no reload; start the service anew to change it")

    def _ignore(self) -> None:
        pass

    handle_usr1 = handle_usr2 = handle_ttin = handle_ttou = handle_winch = _ignore

    def wait_for_signals(self, timeout: float | None = 1.0) -> list[int]:
        """Wait for signals until something is due, at most ``timeout`` seconds."""
        now = time.monotonic()
        limits = [1.0 if timeout is None else timeout]
        limits += [max(0.0, vacancy.due - now) for vacancy in self.vacancies]
        if not self._announced:
            limits.append(_POLL_SECONDS)
        return super().wait_for_signals(min(limits))

    # --- the workers ---

    def manage_workers(self) -> None:
        """Fill the places that are due, and tell once that all workers serve."""
        for vacancy in tuple(self.vacancies):
            if vacancy.due <= time.monotonic():
                self.vacancies.remove(vacancy)
                self.filling = vacancy
                self._fill(vacancy)
        workers = cast("Iterable[Worker]", self.WORKERS.values())
        if (
            not self._announced
            and not self.vacancies
            and all(worker.state is State.SERVING for worker in workers)
        ):
            self._announced = True
            announce(self.application.app, self.application.settings, self._sock)

    def _fill(self, vacancy: Vacancy) -> None:
        try:
            self.spawn_worker()
        except OSError as error:
            logger.warning("cannot start worker %d: %s", vacancy.number, error)
            self._vacate(vacancy.number, vacancy.deaths + 1, 1)

    def reap_workers(self) -> None:
        """Take note of the workers that have ended, and see to their replacement."""
        for worker, code in self._ended():
            number = worker.number
            if worker.state is State.FAILED and not self._announced:
                raise HaltServer(f"worker {number} could not start", code or 1)
            settled = worker.seconds_served > SETTLED_SECONDS
            was_asked = worker.state is State.SERVING and code == 0  # by SIGTERM
            deaths = 0 if settled or was_asked else worker.deaths + 1
            if worker.was_of_use:
                # A request may have killed it; whoever sends such shall not end the service.
                deaths = min(deaths, TRIES - 1)
            logger.warning("worker %d (pid %s) %s", number, worker.pid, _ending(code))
            self._vacate(number, deaths, code)

    def _vacate(self, number: int, deaths: int, code: int) -> None:
        if deaths >= TRIES:
            text = f"worker {number} ended {deaths} times in a row, each time soon after its start"
            raise HaltServer(text, code if code > 0 else 1)
        delay = delay_before(deaths)
        if delay:
            logger.warning("worker %d is started again in %g s", number, delay)
        self.vacancies.append(Vacancy(number, deaths, time.monotonic() + delay))

    def _ended(self) -> list[tuple[Worker, int]]:
        ended: list[tuple[Worker, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if not pid:
                return ended
            # As the first process of a container, this one inherits others too.
            worker = cast("Worker | None", self.WORKERS.pop(pid, None))
            if worker is not None:
                worker.tmp.close()
                self._forget(pid)
                ended.append((worker, os.waitstatus_to_exitcode(status)))

    def _forget(self, pid: int) -> None:
        # It has to be imported after the folder for metrics is known.
        from prometheus_client import multiprocess  # noqa: PLC0415

        socket_path(self.application.folder, pid).unlink(missing_ok=True)
        multiprocess.mark_process_dead(pid)  # pyright: ignore[reportUnknownMemberType]

    # --- the end ---

    def stop(self, graceful: bool = True) -> None:
        """Let the workers drain, or end at once after a second signal; wait until all are gone.

        Signals are sent again and again, for a worker that has just been forked may miss one.
        """
        while self.LISTENERS:
            self.LISTENERS.pop().close()
        for worker in cast("Iterable[Worker]", self.WORKERS.values()):
            worker.announce_stop()
        at_once = False
        again = 0.0
        settings = self.application.settings
        limit = time.monotonic() + settings.drain_timeout + OVERDUE_SECONDS + _GRACE_SECONDS
        while self.WORKERS and time.monotonic() < limit:
            now = time.monotonic()
            if not at_once and (self.interrupted or not graceful):
                at_once = True
                limit = now + EXIT_SECONDS + _POLL_SECONDS
                again = now
            if now >= again:
                again = now + _RESEND_SECONDS
                self.kill_workers(signal.SIGQUIT if at_once else signal.SIGTERM)
            if signal.SIGQUIT in super().wait_for_signals(_POLL_SECONDS):
                self.interrupted = True
            self._bury()
        self.unclean = self.unclean or bool(self.WORKERS)
        self.kill_workers(signal.SIGKILL)
        for pid in tuple(self.WORKERS):
            os.waitpid(pid, 0)

    def _bury(self) -> None:
        for worker, code in self._ended():
            # Python lets go of its signal handlers before the process has ended, and SIGTERM is
            # sent again and again.
            if code not in (0, INTERRUPTED, -signal.SIGTERM, -signal.SIGQUIT):
                self.unclean = True
                logger.error("worker %d (pid %s) %s", worker.number, worker.pid, _ending(code))


def supervise(
    app: FlowApp, settings: HttpSettings, server: Server, sock: socket.socket, folder: Path
) -> None:
    """Serve in several processes until a signal comes; see :func:`workers.run_workers`."""
    handlers = {number: signal.getsignal(number) for number in (*Arbiter.SIGNALS, signal.SIGCHLD)}
    arbiter = ServiceArbiter(Application(app, settings, server, folder), sock)
    code: Any = 0
    try:
        arbiter.run()
    except SystemExit as end:
        if os.getpid() != arbiter.pid:
            raise
        code = end.code
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if arbiter.interrupted:
        code = INTERRUPTED
    elif not code and arbiter.unclean:
        code = 1
    if code:
        raise SystemExit(code)


def _assign(arbiter: ServiceArbiter, worker: Worker) -> None:
    worker.number, worker.deaths = arbiter.filling.number, arbiter.filling.deaths
    arbiter.forked = worker


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"
