"""What an `input_schema` accepts is what the JSON Schema that is shown for it accepts."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flowcore import InputError
from flowcore.input_schema import InputField, InputSchema

NAMES = st.sampled_from(["a", "b", "", "_x", "copy", "model_config", "\u2028", "$ref", "a.b"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 2.5, "", "a", "b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=5,
)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(["", "a", "b"]),
    "integer": st.integers(-3, 3),
    "number": st.integers(-3, 3) | st.sampled_from([0.5, 2.5]),
    "boolean": st.booleans(),
    "array": st.lists(values, max_size=2),
    "object": st.dictionaries(NAMES, values, max_size=2),
}


@st.composite
def fields(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """Draw the description of a field."""
    kind = draw(st.sampled_from(list(BY_TYPE)))
    field: dict[str, Any] = {"type": kind}
    if draw(st.booleans()):
        field["enum"] = draw(st.lists(BY_TYPE[kind], min_size=1, max_size=3))
    elif depth and kind == "array" and draw(st.booleans()):
        field["items"] = draw(fields(depth - 1))
    elif depth and kind == "object" and draw(st.booleans()):
        inner = st.dictionaries(NAMES, fields(depth - 1), max_size=2)
        field["properties"] = draw(inner)
    if draw(st.booleans()):
        field["required"] = draw(st.booleans())
    return field


def fitting(field: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that mostly fit a field."""
    kind = BY_TYPE[field["type"]]
    if "enum" in field:
        kind = st.sampled_from(field["enum"]) | kind
    if "items" in field:
        kind = st.lists(fitting(field["items"]), max_size=2)
    if "properties" in field:
        members = {name: fitting(member) for name, member in field["properties"].items()}
        kind = st.fixed_dictionaries({}, optional=members)
    return kind | kind | kind | values


@given(schema=st.dictionaries(NAMES, fields(), max_size=3), data=st.data())
def test_inputs_are_accepted_as_the_json_schema_says(
    schema: dict[str, Any], data: st.DataObject
) -> None:
    members = {name: fitting(field) for name, field in schema.items()}
    inputs = data.draw(st.fixed_dictionaries({}, optional=members))
    checked = InputSchema(
        "demo", {name: InputField.model_validate(field) for name, field in schema.items()}
    )
    # Null for what need not be given is taken, and counts as left out.
    needed = checked.json_schema.get("required", [])
    given = {k: v for k, v in inputs.items() if v is not None or k in needed}
    faults = list(Draft202012Validator(checked.json_schema).iter_errors(given))
    try:
        accepted = checked.validate(inputs)
    except InputError as error:
        assert faults
        # Where a fault is, both say alike; of a missing field we say where it should be.
        places = {tuple(map(str, fault.absolute_path)) for fault in faults}
        for fault in error.errors:
            loc = tuple(map(str, fault["loc"]))
            assert loc in places or loc[:-1] in places
    else:
        assert not faults
        assert accepted == given
