"""The ops of a run that were cancelled: their time for cleanup, and what becomes of the deaf."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from types import TracebackType

import anyio

from flowcore.errors import RunCancelledError


class Cleanup:
    """Knows the ops of one run, and lets go of those that ignore their cancellation.

    Each task of the run has a scope for this, inside of all scopes that flowcore cancels.

    Args:
        new_scope: Makes a scope.

    Attributes:
        scope: That of the run's own task.
    """

    __slots__ = ("_abandoned", "_failures", "_new_scope", "_others", "scope")

    def __init__(self, new_scope: Callable[[], anyio.CancelScope]) -> None:
        self.scope = new_scope()
        self._new_scope = new_scope
        self._others: set[anyio.CancelScope] | None = None
        self._abandoned = False
        self._failures: dict[object, tuple[float, Exception]] = {}

    def enclosed(self) -> Enclosure:
        """Return what encloses another task of the run, so that it can be left to itself.

        On entering and on leaving, it raises what :meth:`check` does.
        """
        if self._others is None:
            self._others = set()
        return Enclosure(self, self._new_scope(), self._others)

    def check(self) -> None:
        """Check that the run may go on.

        Raises:
            RunCancelledError: If the ops of the run were abandoned: then none begins any more, and
                none gets to know what another returned.
        """
        if self._abandoned:
            raise RunCancelledError("the run has ended already")

    def begin(self, group: object, error: Exception) -> None:
        """Note that ops of a group are cancelled, because one beside them failed.

        The first failure counts: one that fails in its cleanup gives the others no further time.
        """
        self._failures.setdefault(group, (monotonic(), error))

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
        for scope in (self.scope, *(self._others or ())):
            scope.shield = True


class Enclosure:
    """The scope of one task of a run, while that is in the block."""

    __slots__ = ("_cleanup", "_scope", "_scopes")

    def __init__(
        self, cleanup: Cleanup, scope: anyio.CancelScope, scopes: set[anyio.CancelScope]
    ) -> None:
        self._cleanup = cleanup
        self._scope = scope
        self._scopes = scopes

    def __enter__(self) -> None:
        self._cleanup.check()
        self._scope.__enter__()
        self._scopes.add(self._scope)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scopes.discard(self._scope)
        self._scope.__exit__(kind, error, traceback)
        if error is None:
            self._cleanup.check()
