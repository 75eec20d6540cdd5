"""Repair of UTF-16 surrogates that a server splits over two deltas or leaves unpaired."""

from __future__ import annotations

from typing import Any, cast


def repaired(text: str) -> str:
    """Return ``text`` with surrogate pairs joined and unpaired surrogates as U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def repaired_json(value: Any) -> Any:
    """Return JSON data with every string :func:`repaired`."""
    if isinstance(value, str):
        return repaired(value)
    if isinstance(value, list):
        return [repaired_json(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {repaired(key): repaired_json(item) for key, item in items}
    return value


class SurrogateJoiner:
    """Joins surrogate pairs across the pieces of a text."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Return the text that is ready; a trailing high surrogate waits for its partner."""
        if not self._held and text.isascii():
            return text
        text = self._held + text
        self._held = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._held = text[-1]
            text = text[:-1]
        return repaired(text)

    def flush(self) -> str:
        """Return what still waited, at the end of the text."""
        held, self._held = self._held, ""
        return "\ufffd" if held else ""
