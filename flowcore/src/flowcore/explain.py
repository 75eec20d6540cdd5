"""The pages that explain errors: those of flowcore and of all installed plugins.

A package explains the errors that it raises in Markdown files, ``explanations/CODE.md`` beside its
modules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from flowcore.errors import FlowcoreError, UnknownNameError
from flowcore.shipped import shipped_folders

FOLDER = "explanations"
"""Folder of a package that has its explanations."""


@dataclass(frozen=True)
class Explanation:
    """What one kind of error means and what to do about it.

    Attributes:
        code: Code of the error.
        package: Package that explains it.
        path: Its page, in Markdown.
    """

    code: str
    package: str
    path: Path

    @property
    def text(self) -> str:
        """The whole page."""
        return self.path.read_text(encoding="utf-8")

    @property
    def summary(self) -> str:
        """The first sentence after the title, in Markdown."""
        paragraph = " ".join(self.text.split("\n\n")[1:2]).replace("\n", " ")
        return re.split(r"(?<=\.) ", paragraph, maxsplit=1)[0]


def explanations() -> list[Explanation]:
    """Return all explanations: those of flowcore first, then those of plugins, by package."""
    return [
        Explanation(page.stem, package, page)
        for package, folder in shipped_folders(FOLDER)
        for page in sorted(folder.glob("*.md"))
    ]


def explain(code: str) -> list[Explanation]:
    """Return the explanations of a code: one, unless several packages use it.

    Raises:
        UnknownNameError: If no installed package explains it.
    """
    every = explanations()
    if found := [page for page in every if page.code == code]:
        return found
    hint = "`flowcore explain` lists those of flowcore and of the plugins that are installed"
    raise UnknownNameError("error code", code, {page.code for page in every}, hint)


def pointer(code: object) -> str:
    """Return the line that tells where an error is explained, or nothing if it is nowhere.

    The page of the base of all errors is no help to who has met one.
    """
    known = code != FlowcoreError.code and code in [page.code for page in explanations()]
    return f"More: flowcore explain {code}" if known else ""
