"""The documentation site is built without a warning, and nothing in it leads nowhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from .markdown import PAGES, ROOT

LOADING = {
    *(("link", "href"), ("script", "src"), ("img", "src"), ("source", "src"), ("iframe", "src")),
    *(("object", "data"), ("video", "src"), ("audio", "src"), ("embed", "src")),
}


class Page(HTMLParser):
    """Collects the links, the files that are loaded and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif tag == "a" and name == "href" and value:
                self.links.append(value)
            elif (tag, name) in LOADING and value:
                self.loaded.append(value)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_markdown_page_is_on_the_site(site: Path):
    missing = [
        page for page in PAGES if not (site / page.relative_to(ROOT)).with_suffix(".html").is_file()
    ]
    assert missing == []


def test_every_link_of_the_site_leads_to_a_page_and_an_anchor(pages: dict[Path, Page]):
    dead: list[str] = []
    for page in pages.values():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in {"http", "https"}:
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            anchor = unquote(parts.fragment)
            found = target.is_file() and not parts.scheme
            if not found or (anchor and anchor not in pages[target].anchors):
                dead.append(f"{page.path.name}: {link}")

    assert len(pages) > len(PAGES)
    assert dead == []


def test_the_site_loads_nothing_from_elsewhere(site: Path, pages: dict[Path, Page]):
    loaded = [(page.path, file) for page in pages.values() for file in page.loaded]
    sheets = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    in_sheets = re.findall(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", sheets)

    assert len(loaded) > len(pages)
    assert [file for _, file in loaded if urlsplit(file).netloc] == []
    assert in_sheets == []
    for path, file in loaded:
        if file != "#":
            assert (path.parent / urlsplit(file).path).is_file(), f"{path}: {file}"


def test_every_page_is_in_the_side_bar_or_linked_from_that_of_errors(
    site: Path, pages: dict[Path, Page]
):
    start, errors = (
        pages[site / "docs" / name] for name in ("index.html", "reference/errors.html")
    )
    linked = {
        (page.path.parent / urlsplit(link).path).resolve()
        for page in (start, errors)
        for link in page.links
    }
    without = {site / "index.html", site / "search.html", start.path}

    assert set(pages) - without <= linked


def test_the_search_knows_all_pages(site: Path, pages: dict[Path, Page]):
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    known = {(site / f"{name}.html") for name in index["docnames"]}

    assert known == set(pages) - {site / "index.html", site / "search.html"}
    assert index["titleterms"]
