"""What a configuration error says: where, what is wrong, and what was probably meant."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from flowcore.annotation import alternatives
from flowcore.errors import ConfigError, did_you_mean
from flowcore.leftover import instead_of_key

M = TypeVar("M", bound=BaseModel)
Path = tuple[str | int, ...]
_NEEDED: Mapping[str, str] = {
    "list_type": "a list is needed",
    "string_type": "a text is needed",
    "int_type": "a whole number is needed",
    "int_parsing": "a whole number is needed",
    "int_from_float": "a whole number is needed",
    "float_type": "a number is needed",
    "float_parsing": "a number is needed",
    "bool_type": "true or false is needed",
    "bool_parsing": "true or false is needed",
}
"""What is said where a value has the wrong type, by pydantic's name of the fault."""


class Origins(dict[Path, str]):
    """Where values were said, by their path: ``("http", "port")`` → ``"my.yaml:5"``."""

    def find(self, path: Sequence[str | int]) -> str:
        """Return the origin of the value at ``path``, or else of one in it, or else around it."""
        whole = tuple(path)
        if whole not in self:
            for known, origin in self.items():
                if known[: len(whole)] == whole and whole:
                    return origin
        for end in range(len(path), -1, -1):
            if origin := self.get(tuple(path[:end])):
                return origin
        return ""


class Faults:
    """Collects what is wrong with a configuration, so that all of it is told at once."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    @contextmanager
    def noted(self) -> Generator[None]:
        """Note a :class:`ConfigError` instead of letting it pass."""
        try:
            yield
        except ConfigError as error:
            self._found.append(error)

    def raise_all(self) -> None:
        """Raise what was noted, as one error, if that is anything.

        Raises:
            ConfigError: The one that was noted, or one with the messages of all.
        """
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            joined = ConfigError("\n".join(map(str, self._found)))
            joined.origin = self._found[0].origin
            codes = {error.code for error in self._found}
            joined.code = codes.pop() if len(codes) == 1 else ConfigError.code
            raise joined


def validate_section(
    model: type[M], data: Mapping[str, Any], origins: Origins, section: Path = ()
) -> M:
    """Validate a config section.

    Args:
        model: The model of the section.
        data: Its values.
        origins: Where they were said.
        section: Path of the section.

    Raises:
        ConfigError: If the section does not fit; all faults are listed, values are not.
    """
    check_numbers(model, data, origins, section)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise config_error(error, model, origins, section) from None


def check_numbers(
    model: type[BaseModel], data: Mapping[str, Any], origins: Origins, section: Path = ()
) -> None:
    """Check that no number is given as ``true`` or ``false``, which pydantic takes for 1 and 0.

    Raises:
        ConfigError: If one is.
    """
    for path in _booleans_for_numbers(model, data, section):
        name = ".".join(map(str, path))
        raise ConfigError(f"{name!r}: a number is needed, not true or false", origins.find(path))


def config_error(
    error: ValidationError, model: type[BaseModel], origins: Origins, section: Path = ()
) -> ConfigError:
    """Turn pydantic's report on a section into one error for people."""
    faults = [
        _fault(fault["loc"], fault["type"], fault["msg"], model, section)
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    first = origins.find((*section, *error.errors()[0]["loc"]))
    lines = [text for _, text in faults]
    for index in range(1, len(faults)):
        origin = origins.find(faults[index][0])
        lines[index] = f"{origin}: {lines[index]}" if origin else lines[index]
    return ConfigError("\n".join(lines), first)


def _fault(
    loc: Path, kind: str, message: str, model: type[BaseModel], section: Path
) -> tuple[Path, str]:
    path = (*section, *loc)
    name = ".".join(map(str, path))
    if kind == "extra_forbidden":
        known = _known_keys(model, loc[:-1])
        where = f" in {'.'.join(map(str, path[:-1]))!r}" if path[:-1] else ""
        unknown = f"unknown key {str(path[-1])!r}{where}"
        if instead := instead_of_key(path):
            return path, f"{unknown}, which is FlowLLM's: {instead}"
        guess = did_you_mean(str(path[-1]), known) or f"; known keys: {', '.join(sorted(known))}"
        return path, f"{unknown}{guess}"
    field = _field_at(model, loc)
    if kind == "missing":
        return path, f"{name!r} is required{_such_as(field, str(path[-1]))}"
    if kind in {"dict_type", "model_type", "model_attributes_type"}:
        return path, f"{name!r} must be a mapping{_member_such_as(_kind_at(model, loc))}"
    message = _NEEDED.get(kind, message).removeprefix("Value error, ")
    example = _such_as(field) if kind in _NEEDED else ""
    return path, f"{name!r}: {message[0].lower()}{message[1:]}{example}"


def _such_as(field: FieldInfo | None, key: str = "") -> str:
    """Return an example of a field, which is its first one or else its default."""
    if field is None:
        return ""
    value = field.examples[0] if field.examples else field.default
    if isinstance(value, list):
        value = f"[{', '.join(map(str, cast('list[object]', value)))}]"
    if not isinstance(value, str | int | float) or value == "":
        return ""
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    return f", such as `{key and f'{key}: '}{shown}`"


def _member_such_as(kind: Any) -> str:
    """Return an example of a mapping, from the first key that it needs or may have."""
    fields: Mapping[str, FieldInfo] = getattr(kind, "model_fields", {})
    keys = sorted(fields, key=lambda key: not fields[key].is_required())
    return _such_as(fields[keys[0]], keys[0]) if keys else ""


def _booleans_for_numbers(kind: Any, value: object, path: Path) -> Iterator[Path]:
    if isinstance(value, bool):
        kinds = {*alternatives(kind)}
        if bool not in kinds and kinds & {int, float}:
            yield path
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            for member in _members(kind, key):
                yield from _booleans_for_numbers(member, item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            for member in _members(kind, index):
                yield from _booleans_for_numbers(member, item, (*path, index))


def _members(kind: Any, key: str | int) -> Iterator[Any]:
    """Yield the types that a member of a value of this type may have."""
    for one in alternatives(kind):
        fields = getattr(one, "model_fields", {})
        if key in fields:
            yield fields[key].annotation
        elif get_origin(one) in {dict, list}:
            yield get_args(one)[-1]


def _known_keys(model: type[BaseModel], loc: Path) -> list[str]:
    """Return the field names of the model that stands at ``loc`` below ``model``."""
    return list(getattr(_kind_at(model, loc), "model_fields", {}))


def _field_at(model: type[BaseModel], loc: Path) -> FieldInfo | None:
    """Return the field that stands at ``loc`` below ``model``, if that is one."""
    return getattr(_kind_at(model, loc[:-1]), "model_fields", {}).get(loc[-1]) if loc else None


def _kind_at(model: type[BaseModel], loc: Path) -> Any:
    """Return the type of what stands at ``loc`` below ``model``."""
    kind: Any = model
    for part in loc:
        fields = getattr(kind, "model_fields", None)
        if fields is not None and part in fields:
            kind = fields[part].annotation
        # Mappings and lists: their members' type; optional fields: the type that is not None.
        while args := [a for a in get_args(kind) if a is not type(None) and a is not str]:
            kind = args[-1]
    return kind
