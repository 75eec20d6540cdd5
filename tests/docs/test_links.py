"""Links lead somewhere, and every page can be reached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .markdown import PAGES, ROOT, anchors, links, page_name


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path):
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_index():
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link).resolve() for link in links(index)}

    assert set((ROOT / "docs").rglob("*.md")) - {index} <= linked


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_page_that_uses_the_configuration_of_the_example_plugin_says_where_it_comes_from(
    page: Path,
):
    text = page.read_text(encoding="utf-8")
    used = re.search(r"(config=|-c )hello\b", text)
    makes_it = "flowcore new app hello" in text or "file=hello.yaml" in text
    if used is None or makes_it or "flowcore-example" in page.parts:
        return
    said = text[: used.start()].rpartition("Needs: ")[2].replace("\n", " ")
    assert said.startswith("the plugin flowcore-example, for the configuration `hello`")
    assert "clone of flowcore: `pip install ./plugins/flowcore-example`" in said
