"""The pages of the documentation, and the fenced blocks and links in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
EXPLANATIONS = sorted(
    page
    for sources in (ROOT / "flowcore", ROOT / "flowcore-http", ROOT / "plugins")
    for page in sources.glob("**/src/*/explanations/*.md")
)
PAGES = [
    ROOT / "README.md",
    ROOT / "README.zh.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "README.md",
    *(ROOT / name / "README.md" for name in ("flowcore", "flowcore-http")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *EXPLANATIONS,
]


@dataclass(frozen=True)
class Block:
    """A fenced block.

    The first word after the fence is its language; what follows are options that a reader of the
    rendered page does not see: ``file=NAME`` saves the block under that name, ``output`` says that
    it is what the Python block before it prints, ``service`` that it is what the server prints
    next, ``fails`` that it is wrong on purpose. A block of the language ``diff`` changes its file.
    """

    page: Path
    line: int
    language: str
    text: str
    options: dict[str, str] = field(default_factory=dict[str, str])
    prose: str = ""
    """The paragraph right before the block."""

    @property
    def file(self) -> str:
        return self.options.get("file", "")

    def __str__(self) -> str:
        return f"{page_name(self.page)}:{self.line}"


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found: list[Block] = []
    prose = ""
    for token in _tokens(page):
        if token.type == "inline":
            prose = token.content
        elif token.type in {"fence", "code_block"}:
            language, *options = token.info.split()[:9] or [""]
            pairs = (option.partition("=") for option in options)
            line = (token.map or [0])[0] + 1
            found.append(
                Block(page, line, language, token.content, {k: v for k, _, v in pairs}, prose)
            )
    return found


def links(page: Path) -> list[str]:
    """Return the targets of all links of a page."""
    return [
        unquote(str(child.attrs["href"]))
        for token in _tokens(page)
        for child in token.children or ()
        if child.type == "link_open"
    ]


def headings(page: Path) -> list[tuple[str, str]]:
    """Return the level, such as ``"h2"``, and the text of each heading of a page."""
    return [
        (token.tag, following.content)
        for token, following in pairwise(_tokens(page))
        if token.type == "heading_open"
    ]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    return {_anchor(title) for _, title in headings(page)}


def code_spans(page: Path) -> set[str]:
    """Return all that stands in `code spans` on a page."""
    return {span for row in _inlines(page) for span in _spans(row)}


def table_rows(page: Path) -> dict[str, list[list[set[str]]]]:
    """Return the code spans of each cell of the tables' rows, by the heading above the table."""
    found: dict[str, list[list[set[str]]]] = {}
    heading, row, previous = "", [], ""
    for token in _tokens(page):
        if token.type == "inline" and previous == "heading_open":
            heading = token.content
        elif token.type == "tr_open":
            row = []
        elif token.type == "inline" and previous == "td_open":
            row.append(_spans(token))
        elif token.type == "tr_close" and row:
            found.setdefault(heading, []).append(row)
        previous = token.type
    return found


def _inlines(page: Path) -> list[Token]:
    return [token for token in _tokens(page) if token.type == "inline"]


def _spans(token: Token) -> set[str]:
    # In a table, the source writes \\| for |.
    children = token.children or ()
    return {c.content.replace("\\|", "|") for c in children if c.type == "code_inline"}


@cache
def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def _anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")
