"""What a diagram shows of a flow: its ops, their parameters, and how they are joined."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, cast

from flowcore.masking import is_secret_name, mask_users
from flowcore.op import Op, ParallelOp, SequentialOp, held_by, snake_case
from flowcore.parameters import own_parameters

_MAX_VALUE = 60
_UNKNOWN = object()


@dataclass(frozen=True)
class Step:
    """An op that does something, other than to join ops.

    Attributes:
        place: Its place in the tree, such as ``"0.1"``.
        title: Name of its class.
        notes: The parameters that differ from their defaults, such as ``"top_k=5"``.
        subs: The ops that it holds, each with the name by which it does.
    """

    place: str
    title: str
    notes: tuple[str, ...] = ()
    subs: tuple[tuple[str, Shape], ...] = ()


@dataclass(frozen=True)
class InSequence:
    """Shapes that follow each other."""

    parts: tuple[Shape, ...]


@dataclass(frozen=True)
class InParallel:
    """Shapes that stand beside each other."""

    parts: tuple[Shape, ...]


Shape = Step | InSequence | InParallel


def shape_of(op: Op, place: str = "0") -> Shape:
    """Return what a diagram shows of an op and of all that it holds."""
    inner = [
        (name, shape_of(child, f"{place}.{index}"))
        for index, (name, child) in enumerate(op.children())
    ]
    if isinstance(op, SequentialOp):
        return InSequence(tuple(shape for _, shape in inner))
    if isinstance(op, ParallelOp):
        return InParallel(tuple(shape for _, shape in inner))
    notes = tuple(f"{name}={_shown(name, value)}" for name, value in parameters(op).items())
    return Step(place, type(op).__name__, notes, tuple(inner))


def in_words(shape: Shape) -> str:
    """Return a shape as a text, for those who do not see it."""
    match shape:
        case Step(title=title, subs=()):
            return title
        case Step(title=title, subs=subs):
            held = ", ".join(f"{name}: {in_words(sub)}" for name, sub in subs)
            return f"{title} (which holds {held})"
        case InSequence(parts=parts):
            return ", then ".join(map(in_words, parts))
        case InParallel(parts=parts):
            return f"at the same time ({'; '.join(map(in_words, parts))})"


def parameters(op: Op) -> dict[str, Any]:
    """Return the parameters of an op that differ from their defaults and are no objects."""
    defaults: dict[str, Any] = dict.fromkeys(own_parameters(type(op)), _UNKNOWN)
    for cls in reversed(type(op).__mro__[:-1]):
        for parameter in inspect.signature(cls.__init__).parameters.values():
            if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
                defaults[parameter.name] = parameter.default
    own = held_by(op)
    found = {
        name: value
        for name in defaults
        if _is_plain(value := own.get(name, own.get(f"_{name}", _UNKNOWN)))
    }
    defaults["name"] = snake_case(type(op).__name__)
    return {
        name: value
        for name, value in found.items()
        if value != defaults[name] and value != getattr(type(op), name, _UNKNOWN)
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, cast("list[object]", value)))
    if isinstance(value, dict):
        return all(map(_is_plain, cast("dict[object, object]", value).values()))
    return value is None or isinstance(value, str | int | float)


def _shown(name: str, value: object) -> str:
    text = "…" if is_secret_name(name) else repr(_masked(value))
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 1]}…"


def _masked(value: object) -> object:
    """Return a value without what may be secret: diagrams are shown to more people than ops are."""
    if isinstance(value, str):
        return mask_users(value, "…")
    if isinstance(value, list | tuple):
        return [_masked(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {
            key: "…" if is_secret_name(str(key)) else _masked(item)
            for key, item in cast("dict[object, object]", value).items()
        }
    return value
