"""Assembly of tool calls from the fragments of a stream."""

from __future__ import annotations

import json
from typing import Any

from flowcore import ToolCall
from flowcore_openai.surrogates import repaired


class _Call:
    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class ToolCallAssembler:
    """Puts fragments together to whole calls.

    Fragments belong together by ``index``. Without one, they belong together by ``id``; without
    either, to the call before, until a new name follows arguments. Servers differ in whether
    they repeat id and name with each fragment; a name may also come in pieces.
    """

    def __init__(self) -> None:
        self.size = 0
        """Length of all arguments so far, in characters."""
        self._calls: list[_Call] = []
        self._latest_at: dict[int, _Call] = {}

    def feed(self, fragment: dict[str, Any], function: dict[str, Any]) -> None:
        """Take one entry of the ``tool_calls`` of a delta, and the ``function`` in it."""
        id_ = _text(fragment.get("id"))
        name = _text(function.get("name"))
        call = self._call_for(fragment.get("index"), id_, name)
        call.id = call.id or id_
        if name != call.name:
            call.name += name
        if arguments := _text(function.get("arguments")):
            call.arguments.append(arguments)
            self.size += len(arguments)

    def calls(self) -> list[ToolCall]:
        """Return the calls in the order of their indices."""
        return [
            ToolCall(
                id=repaired(call.id),
                name=repaired(call.name),
                arguments=repaired("".join(call.arguments)),
            )
            for call in sorted(self._calls, key=lambda call: call.index)
        ]

    def _call_for(self, index: object, id_: str, name: str) -> _Call:
        if isinstance(index, int):
            call = self._latest_at.get(index)
            # Some servers give each of several calls the index 0.
            if call is None or (id_ and call.id and id_ != call.id):
                call = self._begin(index)
            return call
        if id_:
            known = next((call for call in self._calls if call.id == id_), None)
            return known or self._begin()
        if not self._calls or (name and self._calls[-1].arguments):
            return self._begin()
        return self._calls[-1]

    def _begin(self, index: int | None = None) -> _Call:
        if index is None:
            index = max((call.index for call in self._calls), default=-1) + 1
        call = self._latest_at[index] = _Call(index)
        self._calls.append(call)
        return call


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)
