"""Keeping keys and passwords out of what is shown, whoever wrote the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

from flowcore.finding import Finding
from flowcore.masking import PART_OF_NAME, is_secret_name, mask_users

HIDDEN = "***"

_ASSIGNED = re.compile(rf"([\w.-]*(?:{PART_OF_NAME})[\w.-]*[\"']?\s*[:=]\s*)(\S.*)", re.IGNORECASE)
_SHORTEST = 5


class Secrets:
    """The values that are not to be shown."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def learn(self, values: Mapping[str, object]) -> None:
        """Take note of all values that have the name of a secret, or stand below one."""
        for name, value in values.items():
            if is_secret_name(name):
                self._values |= {text for text in _texts(value) if len(text) >= _SHORTEST}
            elif isinstance(value, Mapping):
                self.learn(cast("Mapping[str, object]", value))

    def hide(self, text: str) -> str:
        """Return a text without them."""
        # The longest first: one may be the beginning of another.
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        return mask_users(text, HIDDEN)

    def hide_all(self, findings: Iterable[Finding]) -> list[Finding]:
        """Return findings without them."""
        return [
            replace(
                found,
                name=self.hide(found.name),
                text=self.hide(found.text),
                advice=self.hide(found.advice),
                origin=self.hide(found.origin),
            )
            for found in findings
        ]


def hide_assigned(text: str) -> str:
    """Return a text without what seems to be given to a name of a secret.

    For messages about files that could not be read, whose secrets nobody knows.
    """
    return _ASSIGNED.sub(rf"\1{HIDDEN}", text)


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, Mapping):
        for item in cast("Mapping[object, object]", value).values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
        yield value.strip()
