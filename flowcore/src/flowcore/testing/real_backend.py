"""The real backend behind a cassette, which only a recording needs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, SecretStr

from flowcore.app import FlowApp
from flowcore.backend import Backend
from flowcore.config import FlowConfig, load_config
from flowcore.errors import BackendError
from flowcore.validation import Origins

B = TypeVar("B", bound=Backend)


class RealBackend(Generic[B]):
    """A backend that is given, or made of its config entry when it is needed.

    Args:
        kind: Section of its entry, such as ``"llm"``.
        wraps: Its entry.
        given: The backend itself, where there is one.

    Attributes:
        keeps: Whether what was made is kept for the next time; if not, it is closed at once.
    """

    def __init__(self, kind: str, wraps: Mapping[str, Any], given: B | None) -> None:
        self._kind = kind
        self._wraps = wraps
        self._given = given
        self._app: FlowApp | None = None
        self.keeps = True

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[B]:
        """Have the backend inside the block."""
        if self._given is not None:
            yield self._given
            return
        app = self._app or self._make()
        if self.keeps:
            self._app = app
        try:
            yield getattr(app.backends, self._kind)("wraps")
        finally:
            if not self.keeps:
                await app.backends.aclose()

    async def aclose(self) -> None:
        """Close what was made and kept."""
        if self._app is not None:
            await self._app.backends.aclose()

    def _make(self) -> FlowApp:
        if not self._wraps:
            text = "a cassette without `wraps` has no model to record"
            raise BackendError(text, code="cassette_missing")
        section: dict[str, Any] = {self._kind: {"wraps": dict(self._wraps)}}
        environment = load_config({}).environment
        return FlowApp(FlowConfig(**section).loaded_from(Origins(), environment))


def secrets_of(settings: BaseModel) -> list[str]:
    """Return the values of all settings that are secrets."""
    found: list[str] = []
    for value in (getattr(settings, name) for name in type(settings).model_fields):
        if isinstance(value, SecretStr) and value.get_secret_value():
            found.append(value.get_secret_value())
        elif isinstance(value, BaseModel):
            found += secrets_of(value)
    return found
