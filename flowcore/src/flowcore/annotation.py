"""Types taken apart: their alternatives, their choices, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable
from enum import EnumType
from types import NoneType, UnionType
from typing import Annotated, Any, ForwardRef, Literal, NewType, Union, get_args, get_origin

UNIONS = (Union, UnionType)


def alternatives(hint: Any) -> list[Any]:
    """Return the members of a union, or the type itself, without what `Annotated` adds."""
    if get_origin(hint) is Annotated:
        return alternatives(get_args(hint)[0])
    if isinstance(hint, NewType):
        return alternatives(hint.__supertype__)
    if get_origin(hint) in UNIONS:
        return [kind for member in get_args(hint) for kind in alternatives(member)]
    return [hint]


def choices(hint: Any) -> list[str]:
    """Return the texts that a Literal or an enum allows."""
    found: list[Any] = []
    for member in alternatives(hint):
        if get_origin(member) is Literal:
            found += get_args(member)
        elif isinstance(member, EnumType):
            found += [one.value for one in _items(member)]
    return [choice for choice in found if isinstance(choice, str)]


def type_name(hint: Any) -> str:
    """Return a type as people write it: ``list[str] | None``."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return type_name(args[0])
    if origin in UNIONS:
        return " | ".join(map(type_name, args))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if hint is NoneType:
        return "None"
    if hint is Ellipsis:
        return "..."
    if isinstance(hint, list):  # the arguments of a Callable
        return f"[{', '.join(type_name(item) for item in _items(hint))}]"
    if isinstance(hint, ForwardRef):
        return hint.__forward_arg__
    if origin is not None and args:
        return f"{type_name(origin)}[{', '.join(map(type_name, args))}]"
    name = getattr(hint, "__name__", None)
    return name if isinstance(name, str) else str(hint).removeprefix("typing.")


def _items(values: Any) -> Iterable[Any]:
    return values
