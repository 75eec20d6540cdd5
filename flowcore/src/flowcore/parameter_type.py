"""The type of one parameter: what its annotation accepts, and how people are told of it."""

from __future__ import annotations

import inspect
import re
import warnings
from collections import deque
from collections.abc import (
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
)
from collections.abc import (
    Set as AbstractSet,
)
from functools import cached_property
from types import FunctionType, NoneType, SimpleNamespace
from typing import (
    IO,
    Annotated,
    Any,
    BinaryIO,
    Literal,
    NewType,
    TextIO,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import (
    BeforeValidator,
    ConfigDict,
    PydanticUserError,
    Strict,
    TypeAdapter,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from flowcore.annotation import UNIONS, alternatives, choices, type_name
from flowcore.errors import did_you_mean

MISSING: Any = inspect.Parameter.empty
"""Stands for the default of a parameter that has none."""


class ParameterType:
    """Checks the values of one parameter. The work is done when the first value comes.

    Numbers, texts and booleans are not converted into each other, save that an integer is a
    float. What an expression cannot hold is made of what it can: an enum of its value, a path of
    a text, a tuple of a list.

    Args:
        annotation: The annotation as it stands in the source, evaluated or as text.
        names: The names that the annotation may use.
        default: Default of the parameter, or ``MISSING``.
    """

    def __init__(self, annotation: Any, names: Mapping[str, Any], default: Any = MISSING) -> None:
        self._annotation = annotation
        self._names = names
        self.default = default

    def __str__(self) -> str:
        if self._hint is MISSING:
            return str(self._annotation)
        return type_name(self._hint)

    @property
    def is_checked(self) -> bool:
        """Whether the annotation could be evaluated and says something about values."""
        return self._adapter is not None

    @property
    def description(self) -> str:
        """The text of ``Annotated[…, Field(description="…")]``; empty where there is none."""
        marks = getattr(self._hint, "__metadata__", ())
        found = [mark.description for mark in marks if isinstance(mark, FieldInfo)]
        return next((text for text in found if text), "")

    def convert(self, value: Any) -> Any:
        """Return the value, as the annotation wants it.

        Raises:
            ValidationError: If it does not fit.
        """
        if value.__class__ is self._hint or (value is None and self.default is None):
            return value
        if self._adapter is None:
            return value
        result: Any = self._adapter.validate_python(value)
        # What fits already stays the caller's own: their list, their defaultdict, their StrEnum.
        same = isinstance(value, _COPIED_BY_PYDANTIC) and isinstance(value, type(result))
        is_fit = same and result == value and self._is_exact(value)
        return cast("Any", value) if is_fit else result

    def fault(self, name: str, value: Any, error: ValidationError) -> str:
        """Return what is wrong with a value, and what to write instead.

        Args:
            name: Name of the parameter.
            value: The value that does not fit.
            error: What :meth:`convert` said about it.
        """
        faults = error.errors(include_url=False, include_context=False)
        first = faults[0]
        expected = f"parameter {name!r} ({self})"
        if len(faults) > 1 and self._is_union:
            return f"{expected} must not be {_shown(value)}{self._advice(name, value)}"
        if place := _place(value, first):
            expected += f", at {name}{place}"
        said = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if first["type"] == "missing":
            return f"{expected}: {first['loc'][-1]!r} is missing"
        colon = "" if said.startswith("must") else ":"
        advice = "" if place else self._advice(name, value)
        return f"{expected}{colon} {said}, not {_shown(first['input'])}{advice}"

    def _advice(self, name: str, value: Any) -> str:
        kinds = _scalars(self._hint)
        if isinstance(value, str):
            if kinds & {int, float} and _is_number(value, kinds):
                return f"; write {name}={value.strip()}, without quotes"
            if bool in kinds and value.strip().lower() in {"true", "false"}:
                return f"; write {name}={value.strip().capitalize()}, without quotes"
            if guess := did_you_mean(value, choices(self._hint)):
                return guess
        elif str in kinds and isinstance(value, int | float) and not isinstance(value, bool):
            return f'; write {name}="{value}", with quotes'
        elif bool in kinds and value in (0, 1):
            return f"; write {name}={bool(value)}"
        for example in (self.default, *(_EXAMPLES[kind] for kind in kinds)):
            if example.__class__ in kinds and self._fits(example):
                return f"; write for example {name}={example!r}"
        return ""

    def _fits(self, value: Any) -> bool:
        try:
            self.convert(value)
        except ValidationError:
            return False
        return True

    @cached_property
    def _hint(self) -> Any:
        holder = SimpleNamespace(__annotations__={"it": self._annotation})
        try:
            return get_type_hints(holder, dict(self._names), include_extras=True)["it"]
        # A name may be known to type checkers only; an annotation may be no type at all.
        except Exception:  # noqa: BLE001
            return MISSING

    @cached_property
    def _adapter(self) -> TypeAdapter[Any] | None:
        if self._hint in (MISSING, Any, object) or not _can_be_asked(self._hint):
            return None
        for config in (ConfigDict(arbitrary_types_allowed=True), None):
            try:
                with warnings.catch_warnings():
                    # It warns of what is no type, such as the function `any`.
                    warnings.simplefilter("error", UserWarning)
                    adapter = TypeAdapter[Any](_strict(self._hint), config=config)
            except PydanticUserError as error:
                # A model has a configuration of its own.
                if error.code != "type-adapter-config-unused":
                    return None
            # What pydantic makes nothing of is not the user's fault.
            except Exception:  # noqa: BLE001
                return None
            else:
                return adapter if adapter.pydantic_complete else None
        return None

    @property
    def _is_union(self) -> bool:
        return len([kind for kind in alternatives(self._hint) if kind is not NoneType]) > 1

    def _is_exact(self, value: Any) -> bool:
        assert self._adapter is not None  # noqa: S101 - convert has looked
        try:
            self._adapter.validate_python(value, strict=True)
        except ValidationError:
            return False
        return True


def _strict(hint: Any) -> Any:
    """Return the type with its numbers, texts and booleans taken as they are."""
    if isinstance(hint, type) and hint in _EXAMPLES:
        return Annotated[hint, Strict(), BeforeValidator(_unboxed)]
    if isinstance(hint, NewType):
        return _strict(hint.__supertype__)
    origin: Any = get_origin(hint)
    args = get_args(hint)
    if origin is Annotated:
        return Annotated[(_strict(args[0]), *args[1:])]  # pyright: ignore[reportInvalidTypeForm, reportUnknownVariableType]
    if origin in UNIONS:
        return Union[tuple(map(_strict, args))]  # noqa: UP007
    if origin in _COLLECTIONS and args:
        return origin[tuple(map(_strict, args))]
    return hint


def _unboxed(value: Any) -> Any:
    """Return the number that a scalar of numpy, or of a library like it, stands for."""
    return value.item() if getattr(value, "shape", None) == () else value


def _parts(hint: Any) -> Iterable[Any]:
    """Yield a type and all that it is made of."""
    yield hint
    for arg in get_args(hint) if get_origin(hint) is not Literal else ():
        yield from _parts(arg)


def _can_be_asked(hint: Any) -> bool:
    for part in _parts(hint):
        # pydantic would look into an iterator later, while it is consumed.
        if (get_origin(part) or part) in (Iterable, Iterator, Generator):
            return False
        # What open() returns is no instance of these; pydantic would call a function.
        if (get_origin(part) or part) in _FILES or isinstance(part, FunctionType):
            return False
        # isinstance() refuses a protocol that is not made for it.
        is_protocol = getattr(part, "_is_protocol", False)
        if is_protocol and not getattr(part, "_is_runtime_protocol", False):
            return False
    return True


def _scalars(hint: Any) -> set[type]:
    return {kind for kind in _EXAMPLES if any(member is kind for member in alternatives(hint))}


def _is_number(text: str, kinds: set[type]) -> bool:
    pattern = r"[-+]?\d+" if float not in kinds else r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?"
    return re.fullmatch(pattern, text.strip()) is not None


def _place(value: Any, fault: ErrorDetails) -> str:
    """Return where in a value a fault is: ``[2]['name']``; nothing if it is the value itself."""
    place = ""
    for part in fault["loc"]:
        try:
            value = value[part]
        except (LookupError, TypeError):
            continue  # the name of a type or of a member
        place += f"[{part!r}]"
    return place


def _shown(value: Any) -> str:
    text = repr(value)
    name = type(value).__name__
    article = "an" if name[0] in "aeiou" else "a"
    return text if len(text) <= 60 else f"{article} {name}"


_FILES = (IO, TextIO, BinaryIO)
_EXAMPLES: Mapping[type, Any] = {int: 5, float: 0.5, bool: True, str: "text"}
_COPIED_BY_PYDANTIC = (list, dict, set, tuple, deque, str, int, float)
_COLLECTIONS: tuple[Any, ...] = (
    *(list, dict, set, frozenset, tuple, deque),
    *(Sequence, MutableSequence, Mapping, MutableMapping, AbstractSet),
)
