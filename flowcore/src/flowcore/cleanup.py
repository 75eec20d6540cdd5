"""The ops of a run that were cancelled: their time for cleanup, and what becomes of the deaf."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic

import anyio

from flowcore.errors import RunCancelledError


class Cleanup:
    """Knows the ops of one run, and lets go of those that ignore their cancellation."""

    def __init__(self) -> None:
        self._abandoned = False
        self._scopes: set[anyio.CancelScope] = set()
        self._failures: dict[object, tuple[float, Exception]] = {}

    @contextmanager
    def enclosed(self) -> Generator[None]:
        """Enclose what an op does, so that it can be left to itself.

        Raises:
            RunCancelledError: If the ops of the run were abandoned: then none begins any more, and
                none gets to know what another returned.
        """
        self._check()
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)
        self._check()

    def _check(self) -> None:
        if self._abandoned:
            raise RunCancelledError("the run has ended already")

    def begin(self, group: object, error: Exception) -> None:
        """Note that ops of a group are cancelled, because one beside them failed."""
        self._failures[group] = monotonic(), error

    def end(self, group: object) -> None:
        """Note that all ops of a group have ended."""
        self._failures.pop(group, None)

    def overdue(self, limit: float) -> tuple[float, Exception] | None:
        """Return since when ops of a group are cancelled, and why, if that takes too long."""
        for since, error in self._failures.values():
            if monotonic() - since > limit:
                return since, error
        return None

    def abandon(self) -> None:
        """Leave all ops to themselves, and have no further one begin."""
        self._abandoned = True
        # Cancellation is delivered again and again, which would keep the event loop busy. The
        # shields are inside of all scopes that flowcore cancels.
        for scope in self._scopes:
            scope.shield = True
