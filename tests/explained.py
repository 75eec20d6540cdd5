"""What the page that explains an error shows as its message."""

from __future__ import annotations

from tests.docs.markdown import EXPLANATIONS, blocks
from tests.docs.reader import assert_matches


def assert_explained(code: str, message: str) -> None:
    """Compare the message of an error with the one that its page shows."""
    (page,) = [page for page in EXPLANATIONS if page.stem == code]
    (shown,) = [block.text for block in blocks(page) if block.language in {"text", "json"}]
    assert_matches(message, shown)
