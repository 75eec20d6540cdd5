"""A named set of classes that knows who registered each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from flowcore.errors import DuplicateNameError, UnknownNameError, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One registered class, who registered it, and whether it may replace another's."""

    value: type[T]
    origin: str
    override: bool = False


class Registry(Mapping[str, type[T]]):
    """Classes by name.

    Args:
        kind: What the entries are, for messages: ``"op"``, ``"LLM backend"``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

    def add(self, name: str, value: type[T], origin: str, *, override: bool = False) -> None:
        """Register a class.

        A class may be registered again, also after a reload of its module. Another class under
        a taken name is refused.

        Args:
            name: The name.
            value: The class.
            origin: Who registers it, for messages.
            override: Replace another class of this name.

        Raises:
            DuplicateNameError: If the name belongs to another class and ``override`` is false.
        """
        taken = self._entries.get(name)
        if taken and not override and not _same_definition(taken.value, value):
            raise DuplicateNameError(
                f"{self.kind} {name!r} is registered twice: by {taken.origin} "
                f"({_path(taken.value)}) and by {origin} ({_path(value)}); rename one, or register "
                "it with override=True"
            )
        self._entries[name] = Entry(value, origin, override)

    def origin(self, name: str) -> str:
        """Return who registered ``name``.

        Raises:
            KeyError: If nobody has.
        """
        return self._entries[name].origin

    def entries(self) -> Mapping[str, Entry[T]]:
        """Return the entries by name."""
        return dict(self._entries)

    def lookup(self, name: str, hint: str = "") -> type[T]:
        """Return the class registered under ``name``.

        Args:
            name: The name.
            hint: What is known about it if there is none, for the message.

        Raises:
            UnknownNameError: If there is none; the message suggests the nearest name.
        """
        try:
            return self._entries[name].value
        except KeyError:
            if not (hint or did_you_mean(name, self._entries)):
                hint = (
                    "no installed plugin provides it, nor does a module under `imports`; "
                    "`flowcore plugins` lists the plugins"
                )
            raise UnknownNameError(self.kind, name, self._entries, hint) from None

    def __getitem__(self, name: str) -> type[T]:
        return self._entries[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _same_definition(a: type, b: type) -> bool:
    # A notebook cell or importlib.reload defines the same class anew.
    return a is b or _path(a) == _path(b)
