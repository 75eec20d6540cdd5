"""What a user finds after `pip install --find-links … flowcore flowcore-http flowcore-example`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_installed_files_are_those_of_the_wheels(site, wheels):
    for name in ("flowcore", "flowcore-http", "flowcore-example"):
        package = name.replace("-", "_")
        found = site.run("python", "-c", f"import {package}; print({package}.__file__)").stdout
        with zipfile.ZipFile(wheels[name]) as archive:
            built = archive.read(f"{package}/__init__.py")

        assert Path(found.strip()).read_bytes() == built


def test_the_folder_of_the_sources_does_not_hide_the_installed_package(site):
    found = site.run("python", "-c", "import flowcore; print(flowcore.__file__)", cwd=ROOT).stdout

    assert Path(found.strip()).is_relative_to(site.folder)


def test_the_plugin_is_listed_with_its_distribution_and_hooks(site):
    plugins = {p["name"]: p for p in json.loads(site.run("flowcore", "plugins", "--json").stdout)}

    assert plugins["example"]["distribution"] == "flowcore-example"
    assert plugins["example"]["version"] == "0.1.0"
    assert plugins["example"]["hooks"] == ["flowcore_register_ops"]
    assert not plugins["example"]["error"]
    assert set(plugins) == {"example", "http"}


def test_the_op_of_the_plugin_is_called_from_the_command_line(site):
    done = site.run("flowcore", "call", "hello", "name=Bob", "-c", "hello")

    assert done.stdout == "Hello Bob\n"


def test_a_check_of_a_good_config_passes_and_of_a_bad_one_names_the_line(site, tmp_path):
    site.run("flowcore", "check", "config=hello")

    bad = tmp_path / "bad.yaml"
    bad.write_text("flow:\n  hello:\n    flow_content: HeloOp()\n", encoding="utf-8")
    done = site.run("flowcore", "check", f"config={bad}", code=2)

    assert f"{bad}:3" in done.stderr
    assert "did you mean 'HelloOp'" in done.stderr
    assert "Traceback" not in done.stderr
