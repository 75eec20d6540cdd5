"""What is registered: the five registries, the decorators ``@C.register_…`` and the registrars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from flowcore.embedding import BaseEmbeddingModel
from flowcore.errors import OpDefinitionError
from flowcore.llm import BaseLLM
from flowcore.op import Op
from flowcore.registry import Registry
from flowcore.service import BaseService
from flowcore.vector_store import BaseVectorStore

T = TypeVar("T")
K = TypeVar("K", bound=type)


class Registrar(Generic[T]):
    """What a registration hook receives: adds classes to one registry in the plugin's name.

    Args:
        registry: Where the classes go.
        base: The class that they must derive from.
        origin: Who registers, for messages.
    """

    def __init__(self, registry: Registry[T], base: type[T], origin: str) -> None:
        self._registry = registry
        self._base = base
        self._origin = origin

    def add(self, cls: type[T], name: str = "", *, override: bool = False) -> None:
        """Register ``cls`` under ``name``, by default its own name.

        Args:
            cls: The class.
            name: Name used in the configuration.
            override: Replace a class of the same name that somebody else registered.

        Raises:
            OpDefinitionError: If ``cls`` is not a class of the kind that this registrar takes.
            DuplicateNameError: If the name is taken and ``override`` is false.
        """
        # Plugins are not all type-checked.
        if not (isinstance(cls, type) and issubclass(cls, self._base)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OpDefinitionError(
                f"{self._origin} registers {cls!r} as {self._registry.kind}; "
                f"it must be a subclass of {self._base.__name__}"
            )
        self._registry.add(name or cls.__name__, cls, self._origin, override=override)


class Catalog:
    """The registered ops, backends and services.

    The module-level catalog :data:`C` only collects what decorators register at import time. An
    app works on a copy that holds the plugins' classes as well, so two apps in one process do
    not share state.
    """

    def __init__(self) -> None:
        self.ops: Registry[Op] = Registry("op")
        self.llms: Registry[BaseLLM] = Registry("LLM backend")
        self.embedding_models: Registry[BaseEmbeddingModel] = Registry("embedding model backend")
        self.vector_stores: Registry[BaseVectorStore] = Registry("vector store backend")
        self.services: Registry[BaseService] = Registry("service")

    def backends(self, kind: str) -> Registry[Any]:
        """Return the registry of one kind of backends, such as ``"llm"``."""
        registries: dict[str, Registry[Any]] = {
            "llm": self.llms,
            "embedding_model": self.embedding_models,
            "vector_store": self.vector_stores,
        }
        return registries[kind]

    def registrars(self, origin: str) -> dict[str, Registrar[object]]:
        """Return a registrar for each registry, keyed by the argument name of its hook."""
        registries = self._registries()
        return {name: Registrar(registries[name], base, origin) for name, base in _BASES.items()}

    def merge(self, other: Catalog, *, override: bool = False) -> None:
        """Add all entries of another catalog.

        Raises:
            DuplicateNameError: If a name is taken and ``override`` is false.
        """
        mine = self._registries()
        for kind, theirs in other._registries().items():
            for name, entry in theirs.entries().items():
                wins = override or entry.override
                mine[kind].add(name, entry.value, entry.origin, override=wins)

    def _registries(self) -> dict[str, Registry[object]]:
        return {name: getattr(self, name) for name in _BASES}

    def register_op(self, name: str = "") -> Callable[[K], K]:
        """Class decorator: make an op usable in flow expressions, by default by its class name."""
        return self._decorator("ops", name)

    def register_llm(self, name: str = "") -> Callable[[K], K]:
        """Class decorator: make an LLM usable as ``backend`` of an ``llm`` entry."""
        return self._decorator("llms", name)

    def register_embedding_model(self, name: str = "") -> Callable[[K], K]:
        """Class decorator: make an embedding model usable as ``backend``."""
        return self._decorator("embedding_models", name)

    def register_vector_store(self, name: str = "") -> Callable[[K], K]:
        """Class decorator: make a vector store usable as ``backend``."""
        return self._decorator("vector_stores", name)

    def register_service(self, name: str = "") -> Callable[[K], K]:
        """Class decorator: make a service usable as the top-level ``backend``."""
        return self._decorator("services", name)

    def _decorator(self, registry: str, name: str) -> Callable[[K], K]:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OpDefinitionError(
                "write the decorator with parentheses, such as @C.register_op()"
            )

        def register(cls: K) -> K:
            self.registrars(f"module {cls.__module__!r}")[registry].add(cls, name)
            return cls

        return register


_BASES: Mapping[str, type] = {
    "ops": Op,
    "llms": BaseLLM,
    "embedding_models": BaseEmbeddingModel,
    "vector_stores": BaseVectorStore,
    "services": BaseService,
}
"""What the classes in each registry derive from."""
C = Catalog()
"""The catalog that the decorators of user code fill: ``@C.register_op()``."""
