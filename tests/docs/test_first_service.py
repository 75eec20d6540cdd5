"""Who follows the first tutorial sees in the playground what it promises."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from .markdown import ROOT, Block, blocks
from .reader import Reader

pytestmark = pytest.mark.browser

PAGE = ROOT / "docs" / "tutorials" / "first-service.md"


def test_the_op_of_the_tutorial_streams_in_the_playground(reader: Reader, browser: Browser):
    chapters = blocks_by_chapter()
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))

    follow(reader, [*chapters["1"], *chapters["2"]])
    page.goto(f"http://127.0.0.1:{reader.port}/playground")
    run(page)
    expect(page.locator("#transcript")).to_contain_text("This answer comes from")
    expect(page.locator("#graph [data-op]")).to_have_count(1)

    follow(reader, chapters["3"])
    run(page)
    thought = page.get_by_text("Thought", exact=True)
    thought.click()
    expect(page.locator("#transcript")).to_contain_text("Somebody wants to know: Why?")
    expect(page.locator("#graph [data-op]")).to_have_count(2)

    follow(reader, chapters["4"])
    run(page)
    thought.click()
    expect(page.locator("#transcript")).to_contain_text("Oh, somebody wants to know: Why?")
    assert complaints == []


def follow(reader: Reader, chapter: list[Block]) -> None:
    for block in chapter:
        reader.follow(block)


def run(page: Page) -> None:
    """Do what the tutorial says: reload, choose, write, press."""
    page.reload()
    expect(page.locator("#state.done")).to_be_hidden()
    page.get_by_role("radio", name="ask").check()
    page.get_by_label("query").fill("Why?")
    page.get_by_role("button", name="Run").first.click()
    expect(page.locator("#state.done")).to_be_visible(timeout=20_000)


def blocks_by_chapter() -> dict[str, list[Block]]:
    """Return the blocks below the headings that begin with a number."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    starts = {
        line.split()[1].rstrip("."): number
        for number, line in enumerate(lines, 1)
        if line.startswith("## ") and line[3].isdigit()
    }
    chapters: dict[str, list[Block]] = {name: [] for name in starts}
    for block in blocks(PAGE):
        above = [name for name, start in starts.items() if start < block.line]
        if above:
            chapters[above[-1]].append(block)
    return chapters
