"""The drawings in the documentation are what the commands beside them draw."""

from __future__ import annotations

from .markdown import ROOT, blocks
from .reader import Reader

PAGE = ROOT / "docs" / "how-to" / "compose-flows.md"
FILES = {"my_ops.py", "flows.yaml"}


def test_a_flow_is_drawn_as_the_page_shows_it(reader: Reader):
    for block in blocks(PAGE):
        if block.file in FILES or "--svg report.svg" in block.text:
            reader.follow(block)

    drawn = (reader.folder / "report.svg").read_text(encoding="utf-8")
    # To renew it, run the commands of the page and copy the file.
    assert (ROOT / "docs" / "images" / "report.svg").read_text(encoding="utf-8") == drawn
