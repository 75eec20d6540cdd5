"""Every fenced block of the documentation does what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from .markdown import PAGES, blocks, page_name
from .not_run import NOT_RUN
from .reader import Reader

RUNNABLE = {page: [block for block in blocks(page) if block.text not in NOT_RUN] for page in PAGES}


@pytest.mark.parametrize("page", [page for page in PAGES if RUNNABLE[page]], ids=page_name)
def test_the_blocks_of_a_page_do_what_it_says(
    page: Path, reader: Reader, subtests: pytest.Subtests
):
    for block in RUNNABLE[page]:
        with subtests.test(f"{page_name(page)}:{block.line}"):
            reader.follow(block)


@pytest.mark.parametrize("text", NOT_RUN)
def test_a_block_that_is_not_run_stands_on_a_page(text: str):
    assert text in [block.text for page in PAGES for block in blocks(page)]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_no_block_is_without_a_language(page: Path):
    assert [str(block) for block in blocks(page) if not block.language] == []
