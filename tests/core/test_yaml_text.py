from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flowcore import ConfigError
from flowcore.config_source import override_layer, yaml_layer
from flowcore.yaml_text import TextOrigin, parse_yaml

Write = Callable[[str, str], Path]


@pytest.mark.parametrize(
    "text",
    [
        "!!int x",
        "!!float x",
        '!!int ""',
        "!!bool x",
        "!!timestamp x",
        "!!set 5",
        "!nonsense x",
        "!!python/name:os.system",
        "[" * 3000,
        "[" * 3000 + "]" * 3000,
        "{? {a: 1} : 2}",
        "a: 'open",
        "\0",
    ],
    ids=lambda text: text[:30],
)
def test_a_malformed_text_is_always_a_yaml_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["2020-01-01", "2020-13-45", "2020-01-01T00:00:00Z"])
def test_a_date_is_text_as_in_json(write: Write, text: str) -> None:
    assert parse_yaml(text) == text
    assert yaml_layer(write("my.yaml", f"a: {text}\n{text}: b\n"), {}).data == {
        "a": text,
        text: "b",
    }
    assert override_layer([f"a={text}"]).data == {"a": text}


@pytest.mark.parametrize(
    "text", ["!!int x", "!!float x", '!!int ""', "!!bool x", "!nonsense x", "[" * 3000]
)
def test_an_override_that_is_not_yaml_is_text(text: str) -> None:
    assert override_layer([f"a={text}"]).data == {"a": text}


@pytest.mark.parametrize(
    "key", ["on", "off", "yes", "true", "5", "0x10", "1.5", "null", "~", "2020-01-01", "'5'"]
)
def test_a_key_is_the_text_that_was_typed(write: Write, key: str) -> None:
    path = write("my.yaml", f"{key}: x\nflow: {{{key}: y}}\n")

    typed = key.strip("'")
    assert yaml_layer(path, {}).data == {typed: "x", "flow": {typed: "y"}}


def test_keys_that_are_the_same_text_stand_twice(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"my\.yaml:2: the key '5' stands twice"):
        yaml_layer(write("my.yaml", "5: a\n'5': b\n"), {})


def test_merge_keys_still_merge(write: Write) -> None:
    path = write("my.yaml", "a: &a {on: 1, x: 2}\nb: {<<: *a, x: 3}\n")

    assert yaml_layer(path, {}).data["b"] == {"on": 1, "x": 3}


@pytest.mark.parametrize(
    "value",
    [
        "!!timestamp x",
        "!!timestamp 2020-01-01",
        "!!set {a}",
        "!!binary aGk=",
        "!!omap [a: 1]",
        "!!pairs [a: 1]",
        "!nonsense x",
        "!!python/name:os.system x",
    ],
)
@pytest.mark.parametrize("place", ["value", "list"])
def test_a_tag_that_json_has_no_form_for_is_refused_with_its_line(
    write: Write, value: str, place: str
) -> None:
    text = f"b: {value}" if place == "value" else f"b: [{value}]"

    with pytest.raises(ConfigError, match=r"my\.yaml:2: the YAML tag .* is not supported"):
        yaml_layer(write("my.yaml", f"a: 1\n{text}\n"), {})


@pytest.mark.parametrize("value", ["!!int x", "!!float x", '!!int ""', "!!bool x", "!!null [a]"])
def test_a_value_that_its_tag_does_not_fit_is_one_error(write: Write, value: str) -> None:
    with pytest.raises(ConfigError, match=r"my\.yaml"):
        yaml_layer(write("my.yaml", f"a: {value}\n"), {})


def test_a_file_that_is_a_set_is_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"my\.yaml:1: "):
        yaml_layer(write("my.yaml", "!!set {a}\n"), {})


@pytest.mark.parametrize("value", ["0x" + "f" * 5000, ":".join(["59"] * 5000), "0b" + "1" * 20_000])
def test_an_integer_that_has_no_text_is_refused_with_its_line(write: Write, value: str) -> None:
    with pytest.raises(ConfigError, match=r"my\.yaml:2:4: .*the integer is too large"):
        yaml_layer(write("my.yaml", f"a: 1\nb: {value}\n"), {})
    assert override_layer([f"a={value}"]).data == {"a": value}


def test_a_text_of_too_many_values_is_refused_before_they_fill_the_memory(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"my\.yaml:99999:3: .*more than 100000 values"):
        yaml_layer(write("my.yaml", "a:\n" + "- x\n" * 300_000), {})
    with pytest.raises(yaml.YAMLError, match="more than 100000 values"):
        parse_yaml(f"[{'x,' * 100_001}]")


# --- where a part of a text stands


def place_of(write: Write, yaml_text: str, part: str, text: str | None = None) -> str:
    """Return where the only text of a file says that its last `part` stands."""
    path = write("my.yaml", yaml_text)
    layer = yaml_layer(path, {"SIZE": "3"})
    origin = layer.origins["key",]
    assert isinstance(origin, TextOrigin)
    read = layer.data["key"] if text is None else text
    before = read[: read.rindex(part)]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return origin.of_part(read, line, column).removeprefix(f"{path}:")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("key: a >> b", "1:11"),
        ("key: 'a >> b'", "1:12"),
        ('key:   "a >> b"', "1:14"),
        ("key:\n  a >>\n  b", "3:3"),
        ("key: |\n  a\n\n   >> b\n", "4:7"),
        ("key: |2-  # why\n    a\n      >> b\n", "3:10"),
        ("key: >-\n\n  a\n  >> b\n", "4:6"),
        ("other: 1\nkey: 中文 >> b", "2:12"),
        ("key: a >> b + ${SIZE}", "1:11"),
    ],
)
def test_a_part_of_a_text_is_found_however_the_text_is_written(
    write: Write, text: str, place: str
) -> None:
    assert place_of(write, text, "b") == place


def test_a_part_of_a_text_is_found_where_blanks_were_taken_away(write: Write) -> None:
    assert place_of(write, "key: |\n  a\n    >> b\n", "b", "a\n>> b") == "3:8"


def test_the_end_of_a_text_is_behind_its_last_character(write: Write) -> None:
    origin = yaml_layer(write("my.yaml", "key: a >>  # more\n"), {}).origins["key",]

    assert isinstance(origin, TextOrigin)
    assert origin.of_part("a >>", 1, 5).endswith("my.yaml:1:10")


@pytest.mark.parametrize("text", ["key: ${SIZE} >> b", 'key: "a \\u003e> b"', "key: 'it''s b'"])
def test_a_part_behind_what_was_filled_in_has_the_place_of_the_text(
    write: Write, text: str
) -> None:
    assert place_of(write, text, "b") == "1"
