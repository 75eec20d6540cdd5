"""A process that serves until another one takes over."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType

from flowcore.app import FlowApp
from flowcore.reload.channel import connect
from flowcore.reload.handover import Handover
from flowcore.reload.loaded import files_at_fault, loaded_files

_LOOK_SECONDS = 1.0


def serve_in_turn(number: int, names: Sequence[str], load: Callable[[], FlowApp]) -> None:
    """Serve an app as a child of a supervisor.

    Args:
        number: Stands for the channel to the supervisor; the argument that it gave.
        names: The configurations that were asked for.
        load: Makes the app.

    Raises:
        FlowcoreError: If the app cannot be made, or its service cannot serve it.
    """
    handover = Handover(connect(number))
    if sys.platform != "win32":
        # A terminal sends Ctrl-C to the supervisor as well, which says what is to be done. Not
        # SIG_IGN, which the programs that an op starts would inherit.
        signal.signal(signal.SIGINT, _ignore)
    handover.listen()
    try:
        app = load()
        service = app.service()
        service.check(app)
    except BaseException as error:
        handover.failed(files_at_fault(names, error))
        raise
    handover.loaded(loaded_files(names, app), overlaps=service.overlaps)
    handover.wait_for_turn()
    threading.Thread(
        target=_tell_of_more, args=(handover, names, app), name="flowcore modules", daemon=True
    ).start()
    try:
        service.run_in_turn(app, handover)
    finally:
        handover.close()


def _tell_of_more(handover: Handover, names: Sequence[str], app: FlowApp) -> None:
    """Tell of modules that are imported later, by an op that runs."""
    known = len(sys.modules)
    while not handover.over.wait(_LOOK_SECONDS):
        if (count := len(sys.modules)) != known:
            known = count
            handover.loaded_more(loaded_files(names, app))


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass
