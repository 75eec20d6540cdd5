"""What the commands share that can print JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Let a command take ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def echo_json(data: object) -> None:
    """Print data as JSON that people can read, too."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))
