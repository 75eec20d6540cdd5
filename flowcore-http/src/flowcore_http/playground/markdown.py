"""Markdown as a tree of harmless elements, for text that grows.

No HTML is made of it: the page builds elements from the tree, and only those that it knows.

Source: CommonMark 0.31.2; tables and strikethrough as in GitHub Flavored Markdown 0.29.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, table
from markdown_it.token import Token

Tree = str | list[Any]
"""A text, or an element: ``[name, {attribute: value}, child, …]``."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n|\Z)")
_SCHEMES = frozenset({"http", "https", "mailto"})
_RULE = re.compile(r"\s*\|?(?:\s*:?-+:?\s*(?:\||\Z))+\s*")
_MAX_DEPTH = 60
_FEW_COLUMNS = 4


def render(text: str) -> dict[str, Any]:
    """Return the blocks of a Markdown text to which more may be appended.

    Returns:
        ``closed``, the trees of the blocks that later text cannot change any more; ``final``,
        where in the text they end, in UTF-16 code units as JavaScript counts; ``open``, the
        trees of what comes after; ``fence``, the line that opens the code block in which the
        text ends, or an empty text.
    """
    tokens = _parser().parse(text)
    starts = [index for index, token in enumerate(tokens) if token.level == 0 and token.map]
    last = starts[-1] if starts else 0
    lines = _LINE.findall(text)
    start = tokens[last].map if tokens else None
    before = "".join(lines[: start[0] if start else 0])
    return {
        "closed": _trees(tokens[:last]),
        "final": len(before.encode("utf-16-le", "surrogatepass")) // 2,
        "open": _trees(tokens[last:]),
        "fence": _open_fence(tokens[last], lines) if tokens else "",
    }


@cache
def _parser() -> MarkdownIt:
    # The preset bounds the nesting of blocks, not that of emphasis; raw HTML is text.
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
    return parser


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Take a table, unless it has more cells than characters: missing ones are made up."""
    if start + 1 >= end:
        return False
    rule = state.src[state.bMarks[start + 1] : state.eMarks[start + 1]]
    columns = rule.count("|") + 1
    if columns > _FEW_COLUMNS and _RULE.fullmatch(rule):
        last = start + 2
        while last < end and not state.isEmpty(last):
            last += 1
        if columns * (last - start) > state.eMarks[last - 1] - state.bMarks[start]:
            return False
    return table(state, start, end, silent)


def _open_fence(token: Token, lines: Sequence[str]) -> str:
    if token.type != "fence" or token.map is None:
        return ""
    first, end = token.map
    closing = lines[end - 1].strip() if end - 1 > first else ""
    closed = len(closing) >= len(token.markup) and not closing.strip(token.markup[0])
    return "" if closed else f"{token.markup}{token.info}\n"


def _trees(tokens: Sequence[Token]) -> list[Tree]:
    root: list[Any] = []
    open_elements = [root]
    for token in tokens:
        here = open_elements[-1]
        if token.type == "inline":
            here.extend(_trees(token.children or ()))
        elif token.hidden:
            continue
        elif token.nesting > 0:
            element: list[Any] = [token.tag, _attributes(token)]
            if len(open_elements) < _MAX_DEPTH:
                here.append(element)
            else:
                element = here
            open_elements.append(element)
        elif token.nesting < 0:
            open_elements.pop()
        else:
            here.append(_leaf(token))
    return root


def _leaf(token: Token) -> Tree:
    match token.type:
        case "fence":
            language = token.info.split(maxsplit=1)[0][:40] if token.info.strip() else ""
            return [
                "pre",
                {},
                ["code", {"data-language": language} if language else {}, token.content],
            ]
        case "code_block":
            return ["pre", {}, ["code", {}, token.content]]
        case "code_inline":
            return ["code", {}, token.content]
        case "image":
            # Shown as a link: to load it would tell its server who reads this.
            text = token.content or str(token.attrs.get("src", ""))
            return ["a", _link(str(token.attrs.get("src", ""))), text]
        case "softbreak":
            return "\n"
        case "hardbreak" | "hr":
            return [token.tag, {}]
        case _:
            return token.content


def _attributes(token: Token) -> dict[str, str]:
    match token.type:
        case "link_open":
            return _link(str(token.attrs.get("href", "")))
        case "ordered_list_open" if "start" in token.attrs:
            return {"start": str(token.attrs["start"])}
        case "th_open" | "td_open":
            align = str(token.attrs.get("style", "")).removeprefix("text-align:")
            return {"data-align": align} if align else {}
        case _:
            return {}


def _link(url: str) -> dict[str, str]:
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError:
        return {}
    return {"href": url} if scheme in _SCHEMES else {}
