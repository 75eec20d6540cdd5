"""``python -m flowcore`` is the command ``flowcore``."""

from __future__ import annotations

from flowcore.cli import main

if __name__ == "__main__":
    main(prog_name="flowcore")
