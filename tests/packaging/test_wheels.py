from __future__ import annotations

import configparser
import zipfile
from collections.abc import Mapping
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement


@pytest.fixture
def wheel(wheels: Mapping[str, Path], distribution: str):
    with zipfile.ZipFile(wheels[distribution]) as archive:
        yield archive


def read(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = [path for path in wheel.namelist() if path.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def metadata(wheel: zipfile.ZipFile) -> Message:
    return Parser().parsestr(read(wheel, "METADATA"))


def required(wheel: zipfile.ZipFile) -> dict[str, Requirement]:
    """What the distribution always needs, extras left aside."""
    lines = metadata(wheel).get_all("Requires-Dist", [])
    needed = [Requirement(line) for line in lines if "extra ==" not in line]
    return {requirement.name: requirement for requirement in needed}


def entry_points(wheel: zipfile.ZipFile) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(read(wheel, "entry_points.txt"))
    return parser


def test_a_wheel_holds_its_package_whole_and_nothing_else(wheel, distribution, sources):
    package = distribution.replace("-", "_")
    source = sources[distribution] / "src" / package
    files = {
        path.relative_to(source.parent).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert held == files
    assert f"{package}/py.typed" in held
    modules = [name.rpartition("/")[2] for name in held if name.endswith(".py")]
    assert not [name for name in modules if name.startswith(("test_", "conftest"))]


def test_a_wheel_is_for_every_platform_and_states_its_licence_and_readme(wheel, distribution):
    fields = metadata(wheel)

    assert Path(wheel.filename).name.endswith("-py3-none-any.whl")
    assert fields["Name"] == distribution
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields["Requires-Python"] == ">=3.11"
    assert f"# {distribution}" in fields.get_payload()


def test_all_distributions_have_the_version_of_the_core_and_ask_for_it(wheel, distribution, wheels):
    version = metadata(wheel)["Version"]

    assert wheels["flowcore"].name.split("-")[1] == version
    own = {name: r for name, r in required(wheel).items() if name.startswith("flowcore")}
    assert {name: str(r.specifier) for name, r in own.items()} == (
        {} if distribution == "flowcore" else {"flowcore": f"=={version}"}
    )


def test_a_wheel_says_where_flowcore_finds_it(wheel, distribution):
    found = entry_points(wheel)

    if distribution == "flowcore":
        assert dict(found["console_scripts"]) == {"flowcore": "flowcore.cli:main"}
        assert "flowcore" not in found
    else:
        name = distribution.removeprefix("flowcore-")
        assert dict(found["flowcore"]) == {name: distribution.replace("-", "_")}


def test_every_extra_of_the_core_is_one_of_our_distributions(wheels):
    with zipfile.ZipFile(wheels["flowcore"]) as archive:
        fields = metadata(archive)
    extras = {
        Requirement(line).name for line in fields.get_all("Requires-Dist", []) if "extra ==" in line
    }

    assert extras == set(wheels) - {"flowcore", "flowcore-example"}
    assert extras == {f"flowcore-{extra}" for extra in fields.get_all("Provides-Extra", [])}


def test_the_core_needs_no_server_no_client_and_no_model(wheels):
    with zipfile.ZipFile(wheels["flowcore"]) as archive:
        names = set(required(archive))

    assert names.isdisjoint({"quart", "hypercorn", "httpx", "openai", "numpy", "xllamacpp"})
    assert {"anyio", "pluggy", "pydantic"} <= names
