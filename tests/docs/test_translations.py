"""The Chinese pages say what the English ones say, as far as that can be compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .markdown import ROOT, Block, blocks, headings, links, page_name

DOCS = ROOT / "docs"
TRANSLATED = {
    ROOT / "README.md": ROOT / "README.zh.md",
    **{page: DOCS / "zh" / page.name for page in sorted((DOCS / "tutorials").glob("*.md"))},
    DOCS / "how-to" / "move-from-flowllm.md": DOCS / "zh" / "move-from-flowllm.md",
}
PAIRS = pytest.mark.parametrize(("page", "translation"), TRANSLATED.items(), ids=page_name)
COMMENT = re.compile(r" *# .*")


def code(block: Block) -> tuple[str, dict[str, str], str]:
    """What must be equal: all but the comments."""
    text = block.text
    if block.language in {"python", "yaml"}:
        text = COMMENT.sub("", text)
    return block.language, block.options, text


@PAIRS
def test_the_blocks_differ_in_comments_only(page: Path, translation: Path):
    assert [code(block) for block in blocks(translation)] == [code(block) for block in blocks(page)]


@PAIRS
def test_the_headings_are_as_many_and_of_the_same_levels(page: Path, translation: Path):
    levels, translated = ([level for level, _ in headings(p)] for p in (page, translation))

    assert translated == levels


@PAIRS
def test_the_links_lead_to_the_same_pages_or_to_their_translations(page: Path, translation: Path):
    def targets(of: Path) -> set[Path]:
        linked = (link.partition("#")[0] for link in links(of))
        return {(of.parent / path).resolve() for path in linked if path and "://" not in path}

    expected = {TRANSLATED.get(target, target) for target in targets(page)}

    assert targets(translation) - {page} == expected - {translation}
    assert page in targets(translation)
    assert translation in targets(page)


def test_every_chinese_page_is_the_translation_of_one():
    assert {*DOCS.glob("zh/*.md"), *ROOT.glob("*.zh.md")} == set(TRANSLATED.values())
