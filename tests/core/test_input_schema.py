from __future__ import annotations

from typing import Any

import pytest

from flowcore import BaseAsyncOp, C, ConfigError, FlowApp, InputError
from flowcore.input_schema import InputField, InputSchema


def schema(**fields: dict[str, Any]) -> InputSchema:
    return InputSchema("demo", {name: InputField(**field) for name, field in fields.items()})


VALUES: dict[str, Any] = {
    "string": "x",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [1, "a"],
    "object": {"a": 1},
}


@pytest.mark.parametrize("kind", VALUES)
def test_each_type_takes_its_own_values_and_converts_nothing(kind: str) -> None:
    checked = schema(x={"type": kind})

    for name, value in VALUES.items():
        fits = name == kind or (name, kind) == ("integer", "number")
        if fits:
            assert checked.validate({"x": value}) == {"x": value}
        else:
            with pytest.raises(InputError):
                checked.validate({"x": value})
    with pytest.raises(InputError):
        checked.validate({"x": None})


def test_a_field_is_required_unless_it_says_otherwise_or_has_a_default() -> None:
    checked = schema(
        needed={}, also={"required": True}, free={"required": False}, given={"default": "d"}
    )

    assert checked.validate({"needed": "a", "also": "b"}) == {
        "needed": "a", "also": "b", "given": "d",
    }  # fmt: skip
    assert checked.json_schema["required"] == ["needed", "also"]
    with pytest.raises(InputError) as caught:
        checked.validate({})
    assert [fault["loc"] for fault in caught.value.errors] == [["needed"], ["also"]]


def test_null_stands_for_a_field_that_may_be_left_out() -> None:
    checked = schema(needed={}, free={"required": False}, given={"type": "integer", "default": 3})

    inputs = {"needed": "a", "free": None, "given": None, "other": None}
    assert checked.validate(inputs) == {"needed": "a", "given": 3, "other": None}
    with pytest.raises(InputError) as caught:
        checked.validate({"needed": None})
    assert [fault["loc"] for fault in caught.value.errors] == [["needed"]]


def test_fields_that_are_not_named_pass_through() -> None:
    assert schema(a={}).validate({"a": "x", "b": [1]}) == {"a": "x", "b": [1]}


def test_without_a_schema_everything_passes() -> None:
    assert schema().validate({"a": object}) == {"a": object}


def test_enum_items_and_properties_are_checked() -> None:
    checked = schema(
        mode={"enum": ["a", "b"]},
        tags={"type": "array", "items": {"type": "string", "enum": ["x"]}},
        user={"type": "object", "properties": {"age": {"type": "integer"}}},
    )
    good = {"mode": "a", "tags": ["x", "x"], "user": {"age": 5, "more": 1}}

    assert checked.validate(good) == good
    with pytest.raises(InputError) as caught:
        checked.validate({"mode": "c", "tags": ["x", "y", 1], "user": {"age": "5"}})
    assert [fault["loc"] for fault in caught.value.errors] == [
        ["mode"], ["tags", 1], ["user", "age"],
    ]  # fmt: skip


def test_what_is_told_of_wrong_inputs_does_not_grow_with_them() -> None:
    row = {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    checked = schema(words={"type": "array", "items": {}}, rows={"type": "array", "items": row})

    with pytest.raises(InputError) as caught:
        checked.validate({"words": [0] * 100_000, "rows": [[{}] * 300] * 300})

    assert [fault["loc"] for fault in caught.value.errors] == [["words", 0], ["rows", 0, 0, "n"]]


def test_faults_say_what_and_where_and_never_repeat_the_value() -> None:
    with pytest.raises(InputError) as caught:
        schema(n={"type": "integer"}, mode={"enum": ["a"]}).validate(
            {"n": "sk-secret", "mode": "sk-secret"}
        )

    assert "invalid input for flow 'demo': n: " in str(caught.value)
    assert "one of 'a'" in str(caught.value)
    assert "sk-secret" not in str(caught.value) + repr(caught.value.errors)
    assert {"loc", "msg", "type"} == set(caught.value.errors[0])


def test_defaults_are_not_shared_between_runs() -> None:
    checked = schema(
        tags={"type": "array", "default": []}, deep={"type": "array", "default": [{"a": []}]}
    )

    checked.validate({})["tags"].append("leak")
    checked.validate({})["deep"][0]["a"].append("leak")

    assert checked.validate({}) == {"tags": [], "deep": [{"a": []}]}


def test_the_json_schema_says_what_the_fields_say() -> None:
    checked = schema(
        query={"type": "string", "description": "the question", "required": True},
        mode={"enum": ["a", "b"], "default": "a"},
        tags={"type": "array", "items": {"type": "integer"}},
        user={"type": "object", "properties": {"age": {"type": "integer", "required": False}}},
    )

    assert checked.json_schema == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "the question"},
            "mode": {"type": "string", "default": "a", "enum": ["a", "b"]},
            "tags": {"type": "array", "items": {"type": "integer"}},
            "user": {"type": "object", "properties": {"age": {"type": "integer"}}},
        },
        "required": ["query", "tags", "user"],
    }


@pytest.mark.parametrize("name", ["copy", "_x", "model_config", "class", "a b", "self", "中文"])
def test_a_field_may_have_any_name(name: str) -> None:
    checked = InputSchema("demo", {name: InputField(type="integer")})

    assert checked.validate({name: 1}) == {name: 1}
    with pytest.raises(InputError):
        checked.validate({name: "x"})


class EchoOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        self.context.response.answer = dict(self.context)


async def test_inputs_are_checked_before_the_run_starts_and_reach_the_context() -> None:
    C.register_op()(EchoOp)
    fields = {"query": {"type": "string"}, "top_k": {"type": "integer", "default": 5}}
    flow = {"flow_content": "EchoOp()", "input_schema": fields}

    async with FlowApp({"flow": {"f": flow}}) as app:
        assert (await app.execute("f", query="hi")).answer == {"query": "hi", "top_k": 5}
        with pytest.raises(InputError):
            app.start("f", {"query": 1})
        with pytest.raises(InputError):
            await app.execute("f")
        assert app.runs == {}


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"type": "str"}, "'string', 'integer'"),
        ({"requird": 1}, "unknown key 'requird' in 'flow.f.input_schema.x'; did you mean"),
        ({"type": "integer", "default": "5"}, "default"),
        ({"enum": []}, "enum"),
        ({"enum": ["a"], "default": "b"}, "default"),
    ],
)  # fmt: skip
def test_a_wrong_schema_stops_the_start(field: dict[str, Any], said: str) -> None:
    C.register_op()(EchoOp)
    flow = {"flow_content": "EchoOp()", "input_schema": {"x": field}}

    with pytest.raises(ConfigError) as caught:
        FlowApp({"flow": {"f": flow}})

    assert said in str(caught.value)
    assert "f" in str(caught.value)
