"""New projects; that their own checks pass in a clean environment is for tests/packaging."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from flowcore import ConfigError
from flowcore.cli import main
from flowcore.project import create, names_of, render


def test_all_names_of_an_app_come_from_one():
    names = names_of("app", "My.bot")

    assert (names.name, names.distribution, names.module) == ("my-bot", "my-bot", "my_bot")
    assert (names.op, names.op_module, names.flow, names.config) == (
        *("AskOp", "ask_op", "ask", "my-bot"),
    )


@pytest.mark.parametrize("name", ["rain-gauge", "Rain_Gauge", "flowcore-rain-gauge"])
def test_all_names_of_a_plugin_come_from_one(name: str):
    names = names_of("plugin", name)

    assert (names.name, names.distribution) == ("rain-gauge", "flowcore-rain-gauge")
    assert (names.module, names.op, names.op_module) == (
        *("flowcore_rain_gauge", "RainGaugeOp", "rain_gauge_op"),
    )
    assert names.flow == names.config == "rain_gauge_demo"


def test_a_plugin_that_is_called_an_op_has_not_two_of_them_in_its_op():
    assert names_of("plugin", "rain-op").op == "RainOp"


def test_a_plugin_with_a_model_has_a_class_and_a_variable_for_its_key():
    names = names_of("plugin", "rain-gauge", "llm")

    assert (names.llm, names.variable) == ("RainGaugeLLM", "RAIN_GAUGE_API_KEY")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1st",
        "a b",
        "-x",
        "x-",
        "a--b",
        "../up",
        "a/b",
        "día",
        "天气",
        "x" * 25,
        "x\n",
        ".x",
        "\u017f",
        "\u212a",
    ],
)
def test_what_cannot_be_a_name_is_refused(name: str):
    for kind in ("app", "plugin"):
        with pytest.raises(ConfigError, match="begin with a letter"):
            names_of(kind, name)


@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        ("app", "json", "Python itself has 'json'"),
        ("app", "class", "Python itself has 'class'"),
        ("app", "yaml", "PyYAML, which is installed here, has the package 'yaml'"),
        ("app", "tests", "something else in a project"),
        ("app", "offline", "something else in a project"),
        ("app", "flowcore", "did you mean `flowcore new plugin`"),
        ("app", "flowcore-weather", "did you mean `flowcore new plugin`"),
        ("app", "nul", "no name for a file on Windows"),
        ("plugin", "test-data", "makes a class that pytest takes for a test"),
        ("plugin", "openai", "flowcore-openai is a plugin that comes with flowcore"),
        ("plugin", "flowcore-http", "flowcore-http is a plugin that comes with flowcore"),
    ],
)
def test_a_name_that_is_taken_is_refused_with_the_reason(kind: str, name: str, why: str):
    with pytest.raises(ConfigError, match=why):
        names_of(kind, name)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("kind", "part"), [("app", "op"), ("plugin", "op"), ("plugin", "llm")])
def test_no_placeholder_is_left_in_a_file_or_its_path(kind: str, part: str):
    files = render(names_of(kind, "weather", part))  # pyright: ignore[reportArgumentType]

    left = [
        path for path, text in files.items() if "$" in f"{path}{text}" or "template" in path.name
    ]
    assert files
    assert left == []
    for path, text in files.items():
        assert text == "" or (text.endswith("\n") and not text.endswith("\n\n")), path
        match path.suffix:
            case ".py":
                compile(text, path, "exec")
            case ".toml":
                tomllib.loads(text)
            case ".yaml":
                yaml.safe_load(text)
            case _:
                pass


def test_the_files_of_a_project_are_written_and_named(tmp_path: Path):
    files = create(names_of("plugin", "weather"), tmp_path / "new")

    assert Path("src/flowcore_weather/weather_op.py") in files
    assert sorted(files) == sorted(
        path.relative_to(tmp_path / "new") for path in tmp_path.rglob("*") if path.is_file()
    )


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(ConfigError, match="is not empty; choose another name, or another folder"):
        create(names_of("app", "weather"), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_with_nothing_but_a_new_repository_is_empty(tmp_path: Path):
    (tmp_path / ".git").mkdir()

    create(names_of("app", "weather"), tmp_path)

    assert (tmp_path / "weather.yaml").is_file()


def test_where_a_file_is_no_folder_can_be(tmp_path: Path):
    (tmp_path / "file").write_text("")

    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="file"):
            create(names_of("app", "weather"), folder)


def test_the_command_says_what_to_type_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    printed = CliRunner().invoke(main, ["new", "plugin", "weather"]).output

    lines = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
    assert lines == [
        "cd flowcore-weather",
        'pip install -e ".[dev]"',
        "pytest",
        "flowcore plugins",
        'flowcore call weather_demo query="hello world" -c weather_demo',
    ]
    assert (tmp_path / "flowcore-weather" / "README.md").is_file()


def test_the_command_can_fill_the_folder_that_it_is_called_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    printed = CliRunner().invoke(main, ["new", "app", "weather", "--into", "."]).output

    assert "cd " not in printed
    assert (tmp_path / "weather" / "ask_op.py").is_file()


def test_a_refusal_is_a_usage_error(tmp_path: Path):
    done = CliRunner().invoke(main, ["new", "app", "a b", "--into", str(tmp_path / "x")])

    assert done.exit_code == 2
    assert "'a b' is no name for a project" in done.output
    assert not (tmp_path / "x").exists()
