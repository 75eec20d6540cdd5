"""The JSON form of what ops emit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_json


def json_bytes(payload: object, fallback: Callable[[Any], Any] | None = None) -> bytes:
    """Return the JSON form of a value, with lone surrogates repaired.

    Args:
        payload: The value.
        fallback: Makes something else of what has no JSON form.

    Raises:
        ValueError: If it has none, such as a set of objects or a value that holds itself.
    """
    try:
        return to_json(payload, inf_nan_mode="strings", fallback=fallback)
    except (PydanticSerializationError, ValueError, RecursionError):
        # Perhaps only for a surrogate, which stands for half a character.
        try:
            return to_json(_repaired(payload), inf_nan_mode="strings", fallback=fallback)
        except (PydanticSerializationError, RecursionError) as error:
            raise ValueError(str(error)) from None


def repair_surrogates(text: str) -> str:
    """Join the halves of characters, and put U+FFFD for those that lack the other half."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _repaired(payload: Any) -> Any:
    if isinstance(payload, str):
        return repair_surrogates(payload)
    if isinstance(payload, dict):
        items = cast("dict[Any, Any]", payload).items()
        return {_repaired(key): _repaired(value) for key, value in items}
    if isinstance(payload, list | tuple):
        return [_repaired(item) for item in cast("list[Any]", payload)]
    return payload
