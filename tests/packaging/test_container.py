"""The image of the how-to guide, built without a container engine: its steps are run here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests.docs.deployment import stages
from tests.docs.markdown import ROOT, blocks

from .conftest import Site, environment, serving


def test_what_the_dockerfile_installs_serves_the_flow(wheels: Mapping[str, Path], tmp_path: Path):
    for block in blocks(ROOT / "docs/how-to/container.md"):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    installing, image = stages((tmp_path / "Dockerfile").read_text(encoding="utf-8"))
    site = Site(tmp_path / "opt", wheels["flowcore"].parent)
    python = f"{sys.executable} -m"

    for step in installing.all("RUN"):
        command = step.replace("/opt/flowcore", str(site.folder)).replace("python -m", python)
        command = command.replace("/wheels", str(site.wheels))
        subprocess.run(command, shell=True, check=True, env=environment(), timeout=300)

    assert image.command()[0] == "/opt/flowcore/bin/flowcore"
    with serving(site, image.command()[1], tmp_path) as url:
        assert httpx.get(f"{url}/health").json() == {"status": "healthy"}
        assert "/explain" in httpx.get(f"{url}/openapi.json").json()["paths"]
