"""The codes of errors, from the pages that explain them."""

from __future__ import annotations

from docs.generator.markers import ROOT, table

from flowcore.explain import FOLDER, Explanation


def codes(distribution: str) -> str:
    """Return the table of the codes of a distribution, with their pages."""
    pages = sorted(ROOT.glob(f"{distribution}/src/*/{FOLDER}/*.md"))
    rows = [
        (
            f"[`{page.stem}`](../../{page.relative_to(ROOT).as_posix()})",
            Explanation(page.stem, distribution, page).summary,
        )
        for page in pages
    ]
    return table(("code", "meaning"), *rows)
