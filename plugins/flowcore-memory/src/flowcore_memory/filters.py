"""Filters on the metadata of nodes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from flowcore import BackendError

Predicate = Callable[[Mapping[str, Any]], bool]

_ABSENT = object()
_RANGE: dict[str, Callable[[Any, Any], bool]] = {
    "gte": operator.ge,
    "gt": operator.gt,
    "lte": operator.le,
    "lt": operator.lt,
}


def compile_filter(filter_dict: Mapping[str, Any] | None) -> Predicate | None:
    """Return a test of metadata for a ``filter_dict``, or None where everything passes.

    All keys must match. A key names a metadata field by its own name or by a dotted path; a node
    that lacks the field does not match. Numbers are equal to numbers and never to booleans; a
    range compares numbers with numbers and strings with strings.

    Raises:
        BackendError: If the filter is malformed.
    """
    if not filter_dict:
        return None
    conditions = [(key, key.split("."), _condition(key, filter_dict[key])) for key in filter_dict]

    def matches(metadata: Mapping[str, Any]) -> bool:
        for key, path, test in conditions:  # noqa: SIM110 - the inner loop of a search; all() costs half as much again
            if not test(_field(metadata, key, path)):
                return False
        return True

    return matches


def _field(metadata: Mapping[str, Any], key: str, path: Sequence[str]) -> object:
    if key in metadata:
        return metadata[key]
    value: object = metadata
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return _ABSENT
        value = cast("Mapping[str, object]", value)[name]
    return value


def _condition(key: str, wanted: object) -> Callable[[object], bool]:
    if isinstance(wanted, Mapping):
        return _range(key, cast("Mapping[object, object]", wanted))
    if isinstance(wanted, list | tuple | set | frozenset):
        choices = tuple(cast("Sequence[object]", wanted))
        return lambda value: any(_equal(value, choice) for choice in choices)
    return lambda value: _equal(value, wanted)


def _range(key: str, bounds: Mapping[object, object]) -> Callable[[object], bool]:
    tests: list[tuple[Callable[[Any, Any], bool], object, type]] = []
    for name, bound in bounds.items():
        kind = _ordered_kind(bound)
        if name not in _RANGE or kind is None:
            raise BackendError(
                f"filter {key!r}: {name!r}: {bound!r} is no bound of a range; "
                "use gte, gt, lte or lt with a number or a string"
            )
        tests.append((_RANGE[cast("str", name)], bound, kind))
    if not tests:
        raise BackendError(f"filter {key!r}: the range is empty; give it gte, gt, lte or lt")

    def within(value: object) -> bool:
        found = _ordered_kind(value)
        return all(found is kind and compare(value, bound) for compare, bound, kind in tests)

    return within


def _ordered_kind(value: object) -> type | None:
    if isinstance(value, str):
        return str
    if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        return float
    return None


def _equal(value: object, wanted: object) -> bool:
    # In Python True == 1; in JSON they differ.
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted
