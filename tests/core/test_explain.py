from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flowcore import UnknownNameError
from flowcore.cli import main
from flowcore.explain import explain, explanations, pointer

Write = Callable[[str, str], Path]
PAGE = """\
# tea_cold

The tea has gone
cold. It was hot.

## Example
"""
ASK_OP = """\
from flowcore import BaseAsyncOp, C

@C.register_op()
class AskOp(BaseAsyncOp):
    async def async_execute(self):
        raise ValueError("nobody is there")
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Yield a function that puts a package with an entry point in place, and returns its folder."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package: str, code: str = "", *, module: str = "") -> Path:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {package}\nVersion: 1.0\n", encoding="utf-8")
        entry = f"[flowcore]\n{package} = {module or package}\n"
        (info / "entry_points.txt").write_text(entry, encoding="utf-8")
        folder = tmp_path / package
        (folder / "explanations").mkdir(parents=True)
        (folder / "__init__.py").write_text(code, encoding="utf-8")
        return folder

    yield install
    for module in ("tea_plugin", "tea_plugin.hooks"):
        sys.modules.pop(module, None)


def flowcore(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_the_errors_of_the_core_come_first():
    assert [page.package for page in explanations()][:5] == ["flowcore"] * 5


def test_an_explanation_begins_with_its_code_and_what_it_means():
    (page,) = explain("app_closed")

    assert (page.code, page.package) == ("app_closed", "flowcore")
    assert page.text.startswith("# app_closed\n")
    assert page.summary.startswith("The app is not open: ")


def test_a_plugin_explains_its_errors_in_a_folder_of_its_package(plugin):
    folder = plugin("tea_plugin")
    (folder / "explanations" / "tea_cold.md").write_text(PAGE, encoding="utf-8")

    (page,) = explain("tea_cold")

    assert (page.package, page.summary) == ("tea_plugin", "The tea has gone cold.")
    assert "tea_plugin" not in sys.modules


def test_a_plugin_that_is_a_module_of_a_package_has_them_beside_it(plugin):
    folder = plugin("tea_plugin", module="tea_plugin.hooks")
    (folder / "hooks.py").write_text("", encoding="utf-8")
    (folder / "explanations" / "tea_cold.md").write_text(PAGE, encoding="utf-8")

    assert explain("tea_cold")[0].package == "tea_plugin"
    assert "tea_plugin" not in sys.modules


@pytest.mark.parametrize("module", ["tea_plugin", "tea_plugin.hooks", "no_such_module", "no.such"])
def test_a_plugin_that_cannot_be_imported_is_no_hindrance(plugin, module):
    plugin("tea_plugin", "raise SystemExit('broken')", module=module)

    assert explain("app_closed")


def test_a_code_that_two_packages_use_is_explained_by_both(plugin):
    folder = plugin("tea_plugin")
    (folder / "explanations" / "app_closed.md").write_text(PAGE, encoding="utf-8")

    assert [page.package for page in explain("app_closed")] == ["flowcore", "tea_plugin"]


def test_of_an_unknown_code_the_nearest_is_suggested():
    with pytest.raises(UnknownNameError, match="did you mean 'app_closed'"):
        explain("app_close")


def test_there_is_a_pointer_to_each_page_and_to_no_other():
    assert pointer("app_closed") == "More: flowcore explain app_closed"
    assert [pointer(code) for code in ("nonsense", "", None, 7, ["app_closed"], "../x")] == [""] * 6
    assert pointer("flowcore_error") == ""


# --- the command


def test_the_command_prints_a_page_as_it_is_where_no_terminal_shows_it():
    result = flowcore("explain", "app_closed")

    assert result.exit_code == 0
    assert result.stdout == explain("app_closed")[0].text


def test_the_command_lists_all_codes(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    lines = flowcore("explain").stdout.splitlines()

    assert lines[0].split() == ["code", "package", "meaning"]
    assert {line.split()[0] for line in lines[1:]} >= {page.code for page in explanations()}


def test_the_command_prints_json(plugin):
    folder = plugin("tea_plugin")
    (folder / "explanations" / "tea_cold.md").write_text(PAGE, encoding="utf-8")

    row = {"code": "tea_cold", "package": "tea_plugin", "text": PAGE}
    assert json.loads(flowcore("explain", "tea_cold", "--json").stdout) == [row]
    assert row in json.loads(flowcore("explain", "--json").stdout)


def test_an_unknown_code_is_refused_with_a_suggestion():
    result = flowcore("explain", "app_close")

    assert result.exit_code == 2
    assert "unknown error code 'app_close'; did you mean 'app_closed'?" in result.stderr


def test_a_terminal_shows_a_page_without_its_markup(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = flowcore("explain", "app_closed")

    assert result.exit_code == 0
    assert "# app_closed" not in result.stdout
    assert "app_closed" in result.stdout


# --- where messages point to it


def test_a_message_of_the_command_line_ends_with_the_pointer(write: Write):
    write("my.yaml", "http: {prot: 1}")
    lines = flowcore("check", "config=my.yaml").stderr.splitlines()

    assert lines[-1] == "More: flowcore explain config_error"
    assert lines[0].startswith("Error: my.yaml:1: ")


def test_a_run_that_fails_ends_with_the_pointer(write: Write, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    write("ask_op.py", ASK_OP)
    write("my.yaml", "imports: [ask_op]\nflow: {ask: {flow_content: AskOp(), stream: true}}")

    result = flowcore("call", "ask", "-c", "my.yaml")
    as_json = flowcore("call", "ask", "-c", "my.yaml", "--json")

    assert result.exit_code == as_json.exit_code == 1
    assert result.stderr.splitlines()[-1] == "More: flowcore explain op_failed"
    assert "More: " not in as_json.output
