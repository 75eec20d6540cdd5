"""What there is to compose flows of: the ops that are installed, and those of one's own."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from typing import Any

from flowcore.app import FlowApp
from flowcore.backend import KINDS
from flowcore.config import FlowConfig
from flowcore.errors import OpDefinitionError
from flowcore.op import Op
from flowcore.parameter_type import MISSING, ParameterType
from flowcore.parameters import (
    argument_types,
    has_no_default,
    has_own_init,
    init_arguments,
    is_computed,
    own_parameters,
    parameter_types,
)


@dataclass(frozen=True)
class Parameter:
    """A parameter of an op, as people are told of it.

    Attributes:
        name: Its name.
        type: Its type as people write it; empty where it has no annotation.
        required: Whether an op cannot be made without it.
        default: Its default, or None.
        description: The text of ``Annotated[…, Field(description="…")]``.
        checked: Whether values are checked against the type.
    """

    name: str
    type: str
    required: bool
    default: Any
    description: str
    checked: bool


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


def describe_parameters(cls: type[Op]) -> list[Parameter]:
    """Return the parameters of an op class, without those that every op has.

    Raises:
        OpDefinitionError: If a default does not fit its annotation.
    """
    is_own = has_own_init(cls)
    types = parameter_types(cls)
    types.changed_defaults(cls.__name__)
    found: dict[str, Parameter] = {}
    for name in own_parameters(cls):
        computed = is_computed(cls, name)
        default = MISSING if computed else getattr(cls, name, MISSING)
        optional = is_own or not has_no_default(cls, name)
        found[name] = _describe(name, types.get(name), default, optional)
    if is_own:
        signature = inspect.signature(cls.__init__)
        types = argument_types(inspect.unwrap(cls.__init__), signature)
        types.changed_defaults(cls.__name__)
        for name in init_arguments(cls):
            default = signature.parameters[name].default
            found[name] = _describe(name, types.get(name), default, False)
    return sorted(found.values(), key=lambda parameter: not parameter.required)


def _describe(name: str, kind: ParameterType | None, default: Any, optional: bool) -> Parameter:
    return Parameter(
        name=name,
        type=str(kind) if kind else "",
        required=default is MISSING and not optional,
        default=None if default is MISSING else default,
        description=kind.description if kind else "",
        checked=kind.is_checked if kind else False,
    )


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
