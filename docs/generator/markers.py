"""The parts of the pages that are generated, each between two comments."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = re.compile(r"(<!-- generated: (\w+)(?: ([^>]+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page: str, writers: dict[str, Callable[..., str]]) -> str:
    """Return a page with its generated parts written anew.

    ``<!-- generated: NAME ARGUMENTS -->`` is followed by what the writer of that name returns.
    """

    def write(part: re.Match[str]) -> str:
        text = writers[part[2]](*(part[3] or "").split())
        return f"{part[1]}\n{text.strip()}\n\n{part[4]}"

    return PARTS.sub(write, page)


def parts(page: str) -> set[tuple[str, str]]:
    """Return name and arguments of the generated parts of a page."""
    return {(part[2], part[3] or "") for part in PARTS.finditer(page)}


def table(*rows: tuple[str, ...]) -> str:
    """Return a table; the first row holds the headings."""
    head, *body = ([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |".replace("  ", " ") for line in lines)
