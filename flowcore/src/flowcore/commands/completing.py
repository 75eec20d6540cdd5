"""What parameters of commands have so that a shell can complete them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

import click


def offering(name: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """Return a function for ``shell_complete=``; it never raises.

    Args:
        name: A function of ``flowcore.completion.words``, imported when it is needed.
    """

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        del param
        # Whatever is wrong, a shell can do nothing with a traceback.
        with suppress(Exception):
            return getattr(import_module("flowcore.completion.words"), name)(ctx, incomplete)
        return []

    return complete
