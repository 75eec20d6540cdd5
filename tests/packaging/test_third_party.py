"""A plugin of somebody else, from an empty folder to a served op, and what happens without it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from .conftest import serving

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "flowcore-hello"
version = "1.2"
dependencies = ["flowcore"]

[project.entry-points.flowcore]
hello = "flowcore_hello"
"""
MODULE = """
from flowcore import BaseAsyncOp, hookimpl

class HelloOp(BaseAsyncOp):
    async def async_execute(self):
        self.context.response.answer = f"Hello {self.context.get('name', 'world')}"

@hookimpl
def flowcore_register_ops(ops):
    ops.add(HelloOp)
"""
CONFIG = """
flow:
  hello:
    flow_content: HelloOp()
"""


@pytest.fixture
def install_plugin(site, tmp_path):
    """Installs a plugin with this code as its module; it is gone after the test."""
    installed: list[str] = []

    def install(module: str = MODULE, name: str = "hello") -> None:
        folder = tmp_path / f"flowcore-{name}"
        folder.mkdir()
        (folder / "pyproject.toml").write_text(PROJECT.replace("hello", name), encoding="utf-8")
        (folder / f"flowcore_{name}.py").write_text(module, encoding="utf-8")
        site.install(folder)
        installed.append(f"flowcore-{name}")

    yield install
    site.uninstall(*installed)


@pytest.fixture
def without_example(site):
    site.uninstall("flowcore-example")
    yield
    site.install("flowcore-example")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def post(url: str, body: object) -> object:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.mark.usefixtures("without_example")
def test_an_op_of_an_installed_plugin_is_served_and_is_missed_once_uninstalled(
    site, install_plugin, config
):
    install_plugin()
    with serving(site, f"config={config}", config.parent) as url:
        answer = post(f"{url}/hello", {"name": "Bob"})
    assert answer == {"answer": "Hello Bob", "success": True, "metadata": {}}

    site.uninstall("flowcore-hello")
    done = site.run("flowcore", f"config={config}", "backend=http", "http.port=0", code=2)

    assert f"{config}:4" in done.stderr
    assert "unknown op 'HelloOp'" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_plugins_that_claim_one_name_are_both_named(site, install_plugin, config):
    install_plugin()

    done = site.run("flowcore", "check", f"config={config}", code=2)

    assert "'HelloOp' is registered twice" in done.stderr
    assert "plugin 'example' (flowcore-example 0.1.0)" in done.stderr
    assert "plugin 'hello' (flowcore-hello 1.2)" in done.stderr


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named 'a_module"),
        ("raise SystemExit('no GPU')", "SystemExit: no GPU"),
        ("def f(:", "SyntaxError: "),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_shown_and_leaves_the_others_alone(
    site, install_plugin, config, fault, cause
):
    install_plugin(fault, name="broken")

    listed = json.loads(site.run("flowcore", "plugins", "--json").stdout)
    plugins = {plugin["name"]: plugin for plugin in listed}
    shown = site.run("flowcore", "plugins").stdout
    called = site.run("flowcore", "call", "hello", "name=Bob", "-c", config)

    assert plugins["broken"]["error"].startswith(cause)
    assert plugins["broken"]["distribution"] == "flowcore-broken"
    assert not plugins["example"]["error"]
    assert "flowcore-broken" in shown
    assert cause.split(":")[0] in shown
    assert called.stdout == "Hello Bob\n"


def test_a_config_that_needs_a_broken_plugin_fails_with_the_cause_of_the_break(
    site, install_plugin, tmp_path
):
    install_plugin("import a_module_that_is_not_there", name="broken")
    config = tmp_path / "broken.yaml"
    config.write_text(CONFIG.replace("HelloOp", "BrokenOp"), encoding="utf-8")

    done = site.run("flowcore", f"config={config}", "backend=http", "http.port=0", code=2)

    assert "unknown op 'BrokenOp'" in done.stderr
    assert "No module named 'a_module_that_is_not_there'" in done.stderr
    assert "plugin 'broken' (flowcore-broken 1.2) could not be loaded" in done.stderr
