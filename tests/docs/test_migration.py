"""The pages on moving from FlowLLM name all that messages have a hint for."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowcore.leftover import (
    OF_CONFIG,
    OF_CONTEXT,
    OF_IMPORTS,
    OF_MODELS,
    OF_OPS,
    OF_PARAMETERS,
    OF_VALUES,
)

from .markdown import ROOT

PAGES = [ROOT / "docs" / folder / "move-from-flowllm.md" for folder in ("how-to", "zh")]


@pytest.mark.parametrize("page", PAGES, ids=["en", "zh"])
def test_all_that_is_told_to_have_another_place_is_in_a_table(page: Path):
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    left = "\n".join(row.split("|")[1] for row in rows)

    names = [*OF_CONTEXT, *OF_OPS, *OF_PARAMETERS, *OF_MODELS, *OF_IMPORTS]
    names += [str(path[-1]) for path in OF_CONFIG]
    names += [name for names in OF_VALUES.values() for name in names]
    # One row does for a method and its async twin.
    assert [name for name in names if name.removeprefix("async_") not in left] == []
