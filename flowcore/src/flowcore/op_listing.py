"""What there is to compose flows of: the ops that are installed, and those of one's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flowcore.app import FlowApp
from flowcore.backend import KINDS
from flowcore.config import FlowConfig
from flowcore.errors import OpDefinitionError
from flowcore.op import Op
from flowcore.parameters import Parameter, describe_parameters


@dataclass(frozen=True)
class OpListing:
    """An op that flows may name.

    Attributes:
        name: Its name in expressions.
        origin: Who registered it: a plugin with its distribution, or a module.
        description: The first paragraph of its docstring, in one line.
        parameters: Its own parameters; those that every op has are left out.
        error: Why it cannot be used as it is written; empty if it can.
    """

    name: str
    origin: str
    description: str
    parameters: tuple[Parameter, ...]
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return what it says as JSON data."""
        parameters = [{**vars(each), "default": _plain(each.default)} for each in self.parameters]
        return {**vars(self), "parameters": parameters}


def list_ops(config: FlowConfig) -> list[OpListing]:
    """Return all ops that flows of a configuration may name, by name; its flows are not looked at.

    Raises:
        ConfigError: If a module under ``imports`` cannot be imported.
    """
    without: dict[str, Any] = {section: {} for section in ("flow", *KINDS)}
    entries = FlowApp(config.model_copy(update=without)).catalog.ops.entries()
    return [_listing(name, entry.value, entry.origin) for name, entry in sorted(entries.items())]


def _listing(name: str, cls: type[Op], origin: str) -> OpListing:
    paragraph = (cls.__doc__ or "").strip().partition("\n\n")[0]
    description = " ".join(paragraph.split())
    try:
        return OpListing(name, origin, description, tuple(describe_parameters(cls)))
    except OpDefinitionError as error:
        return OpListing(name, origin, description, (), str(error))


def _plain(value: Any) -> Any:
    """Return a default as JSON has it; what JSON has not as Python shows it."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
    return value
