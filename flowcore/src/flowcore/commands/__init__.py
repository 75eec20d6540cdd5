"""The subcommands of ``flowcore``: a module each, which defines the click command ``command``.

A module is imported when its command, or the list of all, is asked for: its top level imports
nothing that is slow.
"""

from __future__ import annotations

NAMES = (
    "batch",
    "call",
    "chat",
    "check",
    "completion",
    "doctor",
    "explain",
    "flows",
    "new",
    "ops",
    "plugins",
    "serve",
)
"""The commands; ``NAME`` is in ``flowcore.commands.NAME``."""
