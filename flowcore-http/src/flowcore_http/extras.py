"""How to install what this package does without unless it is asked for."""

from __future__ import annotations

EXTRAS = {
    "uvicorn": ("httptools>=0.9,<1", "uvicorn>=0.54,<0.55"),
    "workers": ("gunicorn>=27,<28",),
}
"""What each extra holds; as in ``pyproject.toml``."""


def how_to_install(extra: str) -> str:
    """Return the command that installs what an extra holds, and the one for a clone.

    This package is on no registry, but what it needs is.
    """
    packages = " ".join(f'"{package}"' for package in EXTRAS[extra])
    clone = f'pip install "./flowcore-http[{extra}]"'
    return f"pip install {packages} (in a clone of flowcore also: {clone})"
