"""The subcommands of ``flowcore``: a module each, which defines the click command ``command``.

A module is imported when its command, or the list of all, is asked for: its top level imports
nothing that is slow.
"""

from __future__ import annotations

SECTIONS = {
    "Run flows": ("serve", "call", "chat", "batch"),
    "Write flows": ("new", "check", "flows", "ops", "plugins"),
    "Get help": ("doctor", "explain", "completion"),
}
"""The commands, as ``flowcore --help`` shows them."""

NAMES = tuple(name for names in SECTIONS.values() for name in names)
"""The commands; ``NAME`` is in ``flowcore.commands.NAME``."""
