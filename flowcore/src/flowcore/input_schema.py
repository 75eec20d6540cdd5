"""The inputs of a flow: what ``input_schema`` says, as a validator and as JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from flowcore.errors import InputError

Validator = Callable[[dict[str, Any]], dict[str, Any]]
TypeName = Literal["string", "integer", "number", "boolean", "array", "object"]
# What a Python value must be, by the name that JSON Schema gives the type.
_TYPES: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list[Any],
    "object": dict[str, Any],
}
_DUMP: Mapping[str, Any] = {"exclude_none": True, "exclude": {"required", "items", "properties"}}


class InputField(BaseModel):
    """One field of an ``input_schema``.

    Attributes:
        type: Name of the JSON type; values are not converted.
        description: Shown in OpenAPI and forms.
        required: Whether a request must have the field; by default it must, unless there is a
            ``default``. A field that it need not have counts as left out where it is null.
        default: Value of a field that a request leaves out.
        enum: The values that are allowed.
        items: For ``array``: what its items are.
        properties: For ``object``: what its members are; others are allowed as well.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: TypeName = "string"
    description: str = ""
    required: bool | None = None
    default: Any = None
    enum: list[Any] | None = Field(default=None, min_length=1)
    items: InputField | None = None
    properties: dict[str, InputField] | None = None

    @property
    def is_required(self) -> bool:
        """Whether a request must have the field."""
        return self.default is None if self.required is None else self.required


class InputSchema:
    """Checks the inputs of a flow's runs. Fields that it does not name are passed on.

    Values are not converted: a number is not taken for a text.

    Args:
        flow: Name of the flow, for messages.
        fields: The fields by name.

    Raises:
        InputError: If a default does not fit its own field.
    """

    def __init__(self, flow: str, fields: Mapping[str, InputField]) -> None:
        self._flow = flow
        self._validate = _validator(fields)
        self._optional = frozenset(name for name in fields if not fields[name].is_required)
        self._defaults = {
            name: field.default for name, field in fields.items() if field.default is not None
        }
        self.json_schema = _object_schema(fields)
        """JSON Schema of the inputs, an object."""
        if self._defaults:
            optional = {name: fields[name] for name in self._defaults}
            InputSchema._check(self._flow, _validator(optional), self._defaults)

    def validate(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs with the defaults filled in, without optional fields that are None.

        Raises:
            InputError: If a field is missing or of the wrong type; all faults are listed, save
                that of a list it is only the first item with any.
        """
        if optional := self._optional:
            # Many clients write null for what they leave out.
            inputs = {k: v for k, v in inputs.items() if v is not None or k not in optional}
        # Runs must not share what they may append to.
        given = {**deepcopy(self._defaults), **inputs} if self._defaults else dict(inputs)
        return self._check(self._flow, self._validate, given)

    @staticmethod
    def _check(flow: str, validate: Validator, inputs: dict[str, Any]) -> dict[str, Any]:
        try:
            return validate(inputs)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False, include_context=False)
            raise InputError(
                flow,
                [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in faults],
            ) from None


def _validator(fields: Mapping[str, InputField]) -> Validator:
    return TypeAdapter[Any](_object_type(fields)).validator.validate_python


def _object_type(fields: Mapping[str, InputField]) -> Any:
    members: dict[str, Any] = {}
    for name, field in fields.items():
        kind = _value_type(field)
        members[name] = kind if field.is_required else NotRequired[kind]
    # TypedDict takes any name; a model would stumble over names such as "copy" or "_x".
    make_type: Any = TypedDict
    return with_config(ConfigDict(extra="allow", strict=True))(make_type("Inputs", members))


def _value_type(field: InputField) -> Any:
    kind: Any = _TYPES[field.type]
    if field.type == "array" and field.items:
        # A list with a million faults would make a report of a hundred million bytes.
        kind = Annotated[list[_value_type(field.items)], FailFast()]
    elif field.type == "object" and field.properties:
        kind = _object_type(field.properties)
    if field.enum is not None:
        kind = Annotated[kind, AfterValidator(_one_of(field.enum))]
    return kind


def _one_of(allowed: list[Any]) -> Callable[[Any], Any]:
    listed = ", ".join(map(repr, allowed))

    def check(value: Any) -> Any:
        if value not in allowed:
            raise PydanticCustomError("enum", "Input should be one of {listed}", {"listed": listed})
        return value

    return check


def _object_schema(fields: Mapping[str, InputField]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: _field_schema(field) for name, field in fields.items()},
    }
    if required := [name for name, field in fields.items() if field.is_required]:
        schema["required"] = required
    return schema


def _field_schema(field: InputField) -> dict[str, Any]:
    schema = field.model_dump(**_DUMP)
    if not field.description:
        del schema["description"]
    if field.items:
        schema["items"] = _field_schema(field.items)
    if field.properties:
        schema |= _object_schema(field.properties)
    return schema
