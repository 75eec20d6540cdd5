"""Docstrings in Google style, as Markdown."""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass, field

_HEADING = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Example|Examples):")
_ROLE = re.compile(r":(?:class|meth|func|attr|data|mod|exc):`~?([^`]+)`")
_ITEM = re.compile(r"(\*{0,2}[\w.]+): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Docstring:
    """What a docstring says: its text, and by heading the items or the text of its sections."""

    text: str = ""
    items: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    sections: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def summary(self) -> str:
        return self.text.split("\n\n", 1)[0]


def read(of: object) -> Docstring:
    """Read the docstring of a class, function or module, as Markdown."""
    parts: dict[str, list[str]] = {"": []}
    heading = ""
    # Not an inherited one, which would tell about something else.
    own = getattr(of, "__doc__", "") if not isinstance(of, property) else of.__doc__
    for line in inspect.cleandoc(own or "").split("\n"):
        if _HEADING.fullmatch(line):
            heading = line.removesuffix(":")
            parts[heading] = []
        else:
            parts[heading].append(line)
    text = markdown("\n".join(parts.pop("")))
    dedented = {name: textwrap.dedent("\n".join(lines)).strip() for name, lines in parts.items()}
    items = {
        name: _items(section)
        for name, section in dedented.items()
        if name in {"Args", "Attributes", "Raises"}
    }
    sections = {name: markdown(section) for name, section in dedented.items() if name not in items}
    return Docstring(text, items, sections)


def attributes(cls: type) -> dict[str, str]:
    """Return what the docstrings of a class and its bases say about its attributes."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found.update(read(base).items.get("Attributes", {}))
    return found


def markdown(text: str) -> str:
    """Return reStructuredText of docstrings as Markdown; each paragraph is one line."""
    blocks: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        if not blocks or not blocks[-1].endswith("::") or not paragraph.startswith("    "):
            blocks.append(" ".join(line.strip() for line in paragraph.split("\n")))
            continue
        blocks[-1] = blocks[-1].removesuffix(":")
        blocks.append(f"```python\n{textwrap.dedent(paragraph)}\n```")
    text = "\n\n".join(blocks)
    return _ROLE.sub(lambda found: f"`{found[1]}`", text).replace("``", "`")


def _items(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    # An item begins at the left; what belongs to it stands further right.
    for part in re.split(r"\n(?=\S)", text):
        if item := _ITEM.fullmatch(part):
            found[item[1]] = markdown(textwrap.dedent(item[2]))
    return found
