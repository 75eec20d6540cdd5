"""The ops of a run that were cancelled: their time for cleanup, and what becomes of the deaf."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from types import TracebackType

import anyio

from flowcore.errors import RunCancelledError


class Cleanup:
    """Knows the ops of one run, and lets go of those that ignore their cancellation.

    Args:
        new_scope: What makes a scope. To ask anyio for each is to ask which event loop it is.

    Attributes:
        scopes: A scope for each task of the run, inside of all scopes that flowcore cancels.
    """

    __slots__ = ("_abandoned", "_failures", "new_scope", "scopes")

    def __init__(self, new_scope: Callable[[], anyio.CancelScope]) -> None:
        self.new_scope = new_scope
        self.scopes: set[anyio.CancelScope] = set()
        self._abandoned = False
        self._failures: dict[object, tuple[float, Exception]] = {}

    def enclosed(self) -> Enclosure:
        """Return what encloses a task of the run, so that it can be left to itself.

        On entering and on leaving, it raises what :meth:`check` does.
        """
        return Enclosure(self)

    def check(self) -> None:
        """Check that the run may go on.

        Raises:
            RunCancelledError: If the ops of the run were abandoned: then none begins any more, and
                none gets to know what another returned.
        """
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
        # Cancellation is delivered again and again, which would keep the event loop busy.
        for scope in self.scopes:
            scope.shield = True


class Enclosure:
    """The scope of one task of a run, while that is in the block."""

    __slots__ = ("_cleanup", "_scope")

    def __init__(self, cleanup: Cleanup) -> None:
        self._cleanup = cleanup

    def __enter__(self) -> None:
        self._cleanup.check()
        self._scope = self._cleanup.new_scope()
        self._scope.__enter__()
        self._cleanup.scopes.add(self._scope)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cleanup.scopes.discard(self._scope)
        self._scope.__exit__(kind, error, traceback)
        if error is None:
            self._cleanup.check()
