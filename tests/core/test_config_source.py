from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowcore import ConfigError
from flowcore.config_source import (
    environment_layer,
    find_config,
    override_layer,
    yaml_layer,
)

Write = Callable[[str, str], Path]


def loaded(write: Write, text: str, **environment: str) -> dict[str, Any]:
    return yaml_layer(write("my.yaml", text), environment).data


def refused(write: Write, text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(write, text, **environment)
    return str(caught.value)


# --- variables


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${NAME}", "n"),
        ("${NAME:-x}", "n"),
        ("${NOPE:-x}", "x"),
        ("${NOPE:-}", None),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", None),
        ("'${EMPTY}'", ""),
        ("a-${NAME}-${NAME}-b", "a-n-n-b"),
        ("$$", "$"),
        ("$${NAME}", "${NAME}"),
        ("$$${NAME}", "$n"),
        ("$NAME costs 5$", "$NAME costs 5$"),
        ("${PORT}", 8002),
        ("'${PORT}'", "8002"),
        ('"${PORT}"', "8002"),
        ("${RATIO}", 0.5),
        ("${FLAG}", True),
        ("${NOPE:-8002}", 8002),
        ("${INNER}", "${NAME}"),
        ("'${YAML}'", "[1, 2]: {}"),
        ("${YAML}", "[1, 2]: {}"),
        ("|\n    line ${NAME}\n    $$", "line n\n$\n"),
    ],
)
def test_variables_are_filled_in(write: Write, text: str, value: object) -> None:
    environment = {
        "NAME": "n", "EMPTY": "", "PORT": "8002", "RATIO": "0.5", "FLAG": "true",
        "INNER": "${NAME}", "YAML": "[1, 2]: {}",
    }  # fmt: skip

    assert loaded(write, f"key: {text}\n", **environment) == {"key": value}


def test_a_missing_variable_names_the_file_the_line_and_the_remedy(write: Write) -> None:
    message = refused(write, "a: 1\nb:\n  c: ${NO_SUCH}\n")

    assert "my.yaml:3: the environment variable NO_SUCH is not set" in message
    assert "${NO_SUCH:-default}" in message


def test_variables_in_comments_and_keys_are_left_alone(write: Write) -> None:
    assert loaded(write, "# ${NO_SUCH}\na: 1  # ${NO_SUCH}\n") == {"a": 1}


def test_an_aliased_value_is_filled_once(write: Write) -> None:
    assert loaded(write, "a: &x $${N}\nb: *x\n", N="n") == {"a": "${N}", "b": "${N}"}


# --- files


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "{}\n"])
def test_an_empty_file_says_nothing(write: Write, text: str) -> None:
    assert loaded(write, text) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "my.yaml:1: the file must hold a mapping"),
        ("just text\n", "my.yaml:1: the file must hold a mapping"),
        (
            "a: 1\nb: 2\na: 3\n",
            "my.yaml:3: the key 'a' stands twice in one mapping, first",
        ),
        ("a:\n  b: 1\n  b: 2\n", "my.yaml:3: the key 'b' stands twice"),
        ("a: [1\nb: 2\n", "my.yaml:1:4: not valid YAML"),
        ("a: 'open\n", "not valid YAML"),
        ("a:\n\t- b\n", "my.yaml:2:1: not valid YAML"),
        ("a: {b: ${NAME}}\n", "my.yaml:1:9: not valid YAML"),
        ("a: {b: ${NAME}}\n", 'write a variable in quotes: "${NAME}"'),
        ("a: *nowhere\n", "my.yaml:1:4: not valid YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "my.yaml:1: the YAML tag"),
        ("? [a]\n: 1\n", "my.yaml:1: a key must be a text"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: &a {b: *a}\n", "levels, perhaps through aliases"),
        ("a: &a [*a]\n", "levels, perhaps through aliases"),
        ("a: \0\n", "cannot be read"),
        ("a\x85b\u2028c: ", "my.yaml:2:2: not valid YAML"),
        ("a: " + "[" * 5000 + "]" * 5000 + "\n", "my.yaml"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(write: Write, text: str, said: str) -> None:
    assert said in refused(write, text)


def test_a_few_aliases_cannot_stand_for_billions_of_values(write: Write) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]

    assert "perhaps through aliases" in refused(write, "\n".join(lines))


def test_a_byte_order_mark_is_no_part_of_the_first_key(write: Write) -> None:
    assert loaded(write, "\ufeffa: 1\n") == {"a": 1}


def test_a_file_that_is_not_utf_8_or_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes(b"a: \xff\xfe")
    for path in (tmp_path / "my.yaml", tmp_path / "nope.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            yaml_layer(path, {})


def test_every_value_knows_its_line(write: Write) -> None:
    layer = yaml_layer(write("my.yaml", "a: 1\nb:\n  - x\n  - y: 2\nc: {d: 3}\n"), {})

    lines = {path: origin.rpartition(":")[2] for path, origin in layer.origins.items()}
    assert lines[("a",)] == "1"
    assert lines[("b", 0)] == "3"
    assert lines[("b", 1, "y")] == "4"
    assert lines[("c", "d")] == "5"


# --- overrides and variables


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-0.5", -0.5),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", ""),
        ("text", "text"),
        ("'5'", "'5'"),
        ("a: b", "a: b"),
        ("a, b", "a, b"),
        ("- a", "- a"),
        ("[a, 5]", ["a", 5]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        ("[a", "[a"),
        ("a=b=c", "a=b=c"),
        ("2024-01-01", "2024-01-01"),
        ("http://x:1/v1", "http://x:1/v1"),
        ("A() >> B(k=1)", "A() >> B(k=1)"),
        ("中文", "中文"),
        ("x" * 5000, "x" * 5000),
    ],
)
def test_a_value_is_read_as_yaml_but_texts_stay_texts(text: str, value: object) -> None:
    assert override_layer([f"a.b={text}"]).data == {"a": {"b": value}}
    assert environment_layer({"FLOWCORE_A__B": text}).data == {"a": {"b": value}}


@pytest.mark.parametrize("override", ["=x", "a..b=1", ".a=1", "a.=1", "."])
def test_a_malformed_override_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="write it as key=value"):
        override_layer([override])


@pytest.mark.parametrize("overrides", [("a=1", "a.b=2"), ("a.b=2", "a=1"), ("a.b=2", "a.b.c=3")])
def test_overrides_that_contradict_each_other_are_refused(overrides: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="argument"):
        override_layer(overrides)


def test_the_later_of_two_equal_overrides_wins() -> None:
    assert override_layer(["a.b=1", "a.c=2", "a.b=3"]).data == {"a": {"b": 3, "c": 2}}


def test_only_variables_of_ours_are_taken() -> None:
    layer = environment_layer(
        {"PATH": "x", "FLOWCORE_LANGUAGE": "en", "FLOWCORE_LOG_LEVEL": "INFO", "FLOWCORE_": "x"}
    )

    assert layer.data == {"language": "en"}
    assert layer.origins[("language",)] == "environment variable FLOWCORE_LANGUAGE"


# --- finding files


@pytest.mark.parametrize("name", ["my", "my.yaml", "./my.yaml", "sub/other", "sub/other.yml"])
def test_a_config_is_found_by_path_or_bare_name(write: Write, name: str) -> None:
    write("my.yaml", "")
    write("sub/other.yml", "")

    assert find_config(name).is_file()


def test_the_file_here_wins_over_a_packaged_one(write: Write) -> None:
    assert find_config("default").is_absolute()

    write("default.yaml", "")

    assert find_config("default") == Path("default.yaml")


@pytest.mark.parametrize("name", ["nope", "defualt", "x" * 300, "a\0b", "."])
def test_a_config_that_is_nowhere_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_config(name)

    assert "packaged configs: default" in str(caught.value)
    if name == "defualt":
        assert "did you mean 'default'?" in str(caught.value)


def test_installed_packages_ship_configs(install: Any, tmp_path: Path) -> None:
    install("my-ops", {"mine": "my_ops_pkg.plugin"}, {"my_ops_pkg.plugin": ""})
    folder = tmp_path / "site" / "my_ops_pkg"
    (folder / "__init__.py").touch()
    (folder / "configs").mkdir()
    (folder / "configs" / "shipped.yaml").write_text("language: en")

    assert find_config("shipped") == folder / "configs" / "shipped.yaml"

    install("other", {"other": "other_pkg"}, {"other_pkg.__init__": ""})
    (tmp_path / "site" / "other_pkg" / "configs").mkdir()
    (tmp_path / "site" / "other_pkg" / "configs" / "shipped.yaml").touch()
    with pytest.raises(ConfigError, match="several packages ship a config 'shipped'"):
        find_config("shipped")


def test_a_variable_that_is_not_set_is_told_with_the_nearest_that_is(write: Write) -> None:
    with pytest.raises(ConfigError, match="did you mean 'MY_KEY'"):
        yaml_layer(write("my.yaml", "a: ${MY_KYE}\n"), {"MY_KEY": "x"})
