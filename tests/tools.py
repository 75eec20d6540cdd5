"""Programs that are no Python packages and that some tests need: Node, nginx, a browser."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

MANDATORY = "TEST_TOOLS"
"""The environment variable that, set to `required`, lets such tests fail and not be skipped."""


def find_tool(*names: str, package: str) -> str:
    """Return the path of the first program that is installed.

    Args:
        *names: Names of the program.
        package: What to install to have it, for the message.
    """
    # Debian puts servers where only the path of root leads.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    missing(f"{' or '.join(names)} is not installed", f"install {package}")


def missing(what: str, advice: str) -> NoReturn:
    """Skip the test, or fail it where its tools are mandatory."""
    message = f"{what}; {advice}"
    if os.environ.get(MANDATORY) == "required":
        pytest.fail(f"{message} ({MANDATORY}=required)")
    pytest.skip(f"{message}, and set {MANDATORY}=required to make sure that this test runs")
