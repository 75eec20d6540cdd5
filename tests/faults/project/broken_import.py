"""A module of the user's own that does not load."""

from __future__ import annotations

raise RuntimeError("no licence found")
