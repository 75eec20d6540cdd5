"""Tells when something has happened in a set of folders."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

_STEP_MILLISECONDS = 50
_LONGEST_MILLISECONDS = 400
_STOP_MILLISECONDS = 500


class Watcher:
    """Calls a function after something was written, made or removed in one of some folders.

    Args:
        tell: What is called, in another thread.
    """

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell = tell
        self._folders: frozenset[Path] = frozenset()
        self._stopped = threading.Event()

    def watch(self, folders: set[Path]) -> None:
        """Watch these folders instead of those before, without what is below them."""
        if self._folders == frozenset(folders):
            return
        self.stop()
        self._folders = frozenset(folders)
        if folders:
            self._stopped = threading.Event()
            thread = threading.Thread(
                target=self._run, args=(self._folders, self._stopped), daemon=True
            )
            thread.start()

    def stop(self) -> None:
        """Watch nothing any more."""
        self._stopped.set()
        self._folders = frozenset()

    def _run(self, folders: frozenset[Path], stopped: threading.Event) -> None:
        from watchfiles import watch  # noqa: PLC0415 - only who reloads needs it

        try:
            for _ in watch(
                *folders,
                watch_filter=None,
                debounce=_LONGEST_MILLISECONDS,
                step=_STEP_MILLISECONDS,
                stop_event=stopped,
                rust_timeout=_STOP_MILLISECONDS,
                raise_interrupt=False,
                recursive=False,
                ignore_permission_denied=True,
            ):
                self._tell()
        except (OSError, RuntimeError):
            # A folder is gone, or the system watches no more of them; there are other ways to see.
            self._tell()
