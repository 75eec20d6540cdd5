"""The backends of an app: made on first use, shared by all runs, closed with the app."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import anyio

from flowcore.backend import Backend, BackendSettings
from flowcore.catalog import Catalog
from flowcore.config import FlowConfig
from flowcore.embedding import BaseEmbeddingModel
from flowcore.errors import ConfigError, UnknownNameError, did_you_mean
from flowcore.llm import BaseLLM
from flowcore.registry import Registry
from flowcore.validation import Faults, validate_section
from flowcore.vector_store import BaseVectorStore, VectorStoreSettings

logger = logging.getLogger("flowcore")
B = TypeVar("B", bound=Backend)

CLOSE_TIMEOUT = 5.0
"""How long one backend may take to close, in seconds."""


class SharedBackends:
    """One object for each configured name. All settings are checked at once, at the start.

    Args:
        config: The configuration.
        catalog: The registered backends.
        hint: Says what may be the matter with a backend's name that nobody registered.

    Raises:
        ConfigError: If an entry names no known backend or does not fit its settings.
    """

    def __init__(self, config: FlowConfig, catalog: Catalog, hint: Callable[[str], str]) -> None:
        self.language = config.language
        self.threads = anyio.CapacityLimiter(config.thread_pool_max_workers)
        faults = Faults()
        with faults.noted():
            self._llms = _section("llm", config.llm, catalog.llms, config, hint)
        with faults.noted():
            self._embeddings = _section(
                "embedding_model", config.embedding_model, catalog.embedding_models, config, hint
            )
        with faults.noted():
            self._stores = _section(
                "vector_store", config.vector_store, catalog.vector_stores, config, hint
            )
        faults.raise_all()
        self._made: dict[tuple[str, str], Backend] = {}
        # Sync ops ask from worker threads.
        self._lock = threading.RLock()

    def llm(self, name: str) -> BaseLLM:
        """Return the LLM of this name.

        Raises:
            UnknownNameError: If none is configured.
        """
        return self._get("llm", name, self._llms, lambda cls, settings: cls(settings))

    def embedding_model(self, name: str) -> BaseEmbeddingModel:
        """Return the embedding model of this name.

        Raises:
            UnknownNameError: If none is configured.
        """
        return self._get("embedding_model", name, self._embeddings, lambda cls, s: cls(s))

    def vector_store(self, name: str) -> BaseVectorStore:
        """Return the vector store of this name.

        Raises:
            UnknownNameError: If it, or the embedding model that it names, is not configured.
        """

        def make(cls: type[BaseVectorStore], settings: Any) -> BaseVectorStore:
            embedding_model = self.embedding_model(settings.embedding_model)
            return cls(settings, embedding_model)

        return self._get("vector_store", name, self._stores, make)

    def make_all(self) -> None:
        """Make the backends that nobody has asked for yet, to see whether they can be made.

        Raises:
            BackendError: If one cannot, such as for a missing model file.
        """
        for name in self._llms:
            self.llm(name)
        for name in self._embeddings:
            self.embedding_model(name)
        for name in self._stores:
            self.vector_store(name)

    async def aclose(self) -> None:
        """Close what was made, the last first; a backend that fails to close is logged."""
        while self._made:
            (kind, name), backend = self._made.popitem()
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True) as scope:
                try:
                    await backend.aclose()
                except Exception:
                    logger.exception("%s %r failed to close", kind, name)
            if scope.cancelled_caught:
                logger.error("%s %r did not close within %g s", kind, name, CLOSE_TIMEOUT)

    def _get(
        self,
        kind: str,
        name: str,
        section: Mapping[str, tuple[type[B], BackendSettings]],
        make: Callable[[type[B], Any], B],
    ) -> B:
        made = self._made.get((kind, name))
        if made is None:
            with self._lock:
                made = self._made.get((kind, name))
                if made is None:
                    if name not in section:
                        hint = f"add it to the config, under {kind}.{name}"
                        raise UnknownNameError(kind, name, section, hint)
                    made = make(*section[name])
                    self._made[kind, name] = made
        return made  # pyright: ignore[reportReturnType]


def _section(
    kind: str,
    entries: Mapping[str, Mapping[str, Any]],
    registry: Registry[B],
    config: FlowConfig,
    hint: Callable[[str], str],
) -> dict[str, tuple[type[B], BackendSettings]]:
    checked: dict[str, tuple[type[B], BackendSettings]] = {}
    faults = Faults()
    for name in entries:
        with faults.noted():
            checked[name] = _entry(kind, name, entries, registry, config, hint)
    faults.raise_all()
    return checked


def _entry(
    kind: str,
    name: str,
    entries: Mapping[str, Mapping[str, Any]],
    registry: Registry[B],
    config: FlowConfig,
    hint: Callable[[str], str],
) -> tuple[type[B], BackendSettings]:
    path = (kind, name)
    backend = entries[name].get("backend")
    if not isinstance(backend, str):
        guess = did_you_mean(name, entries.keys() - {name})
        for key in entries[name]:
            guess = f"; is {key!r} meant to be it?" if did_you_mean(key, ["backend"]) else guess
        raise ConfigError(f"{kind}.{name} needs a `backend`{guess}", config.origins.find(path))
    try:
        cls = registry.lookup(backend, hint(backend))
    except UnknownNameError as error:
        raise ConfigError(str(error), config.origins.find((*path, "backend"))) from None
    data = cls.Settings.complete(entries[name], config.environment)
    settings = validate_section(cls.Settings, data, config.origins, path)
    embedding = settings.embedding_model if isinstance(settings, VectorStoreSettings) else ""
    if embedding and embedding not in config.embedding_model:
        error = UnknownNameError("embedding_model", embedding, config.embedding_model)
        raise ConfigError(str(error), config.origins.find((*path, "embedding_model")))
    return cls, settings
