"""Which server carries the service."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from flowcore import ConfigError
from flowcore_http import HttpService, HttpSettings
from flowcore_http.extras import EXTRAS, how_to_install
from flowcore_http.servers import check_server, server_of


@pytest.mark.parametrize("package", ["uvicorn", "httptools"])
def test_a_server_that_is_not_installed_is_a_config_error(make_app, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    service = HttpService(HttpSettings(port=0, server="uvicorn"))
    for start in (service.check, service.run):
        with pytest.raises(ConfigError, match=rf"{package}; run: pip install .*\[uvicorn\]"):
            start(make_app({}))


def test_what_is_to_be_installed_is_what_the_extras_hold():
    project = Path(__file__).parents[2] / "flowcore-http" / "pyproject.toml"
    extras = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]

    assert {
        name: tuple(each.partition(";")[0] for each in needed) for name, needed in extras.items()
    } == EXTRAS
    assert how_to_install("uvicorn") == (
        'pip install "httptools>=0.9,<1" "uvicorn>=0.54,<0.55" '
        '(in a clone of flowcore also: pip install "./flowcore-http[uvicorn]")'
    )


def test_a_server_that_is_not_installed_is_named_with_its_place(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"c\.yaml, line 3"):
        check_server(HttpSettings(server="uvicorn"), "c.yaml, line 3")


def test_an_unknown_server_is_refused():
    with pytest.raises(ValidationError, match="'hypercorn' or 'uvicorn'"):
        HttpSettings(server="apache")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["hypercorn", "uvicorn"])
def test_a_certificate_that_cannot_be_read_is_a_config_error(tmp_path, name):
    missing = tmp_path / "none.pem"
    with pytest.raises(ConfigError, match=r"http\.certfile, http\.keyfile: "):
        server_of(HttpSettings(server=name, certfile=missing, keyfile=missing))


def test_a_server_that_is_not_chosen_is_not_imported():
    code = (
        "import sys\n"
        "from flowcore_http import HttpSettings\n"
        "from flowcore_http.servers import server_of\n"
        "server_of(HttpSettings())\n"
        "print([name for name in ('uvicorn', 'httptools') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert printed.stdout.strip() == b"[]"
