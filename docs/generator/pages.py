"""The pages with their generated parts."""

from __future__ import annotations

from pathlib import Path

from docs.generator.api import api
from docs.generator.commands import help_text
from docs.generator.config import keys
from docs.generator.errors import codes
from docs.generator.hooks import hooks
from docs.generator.http import responses, schema
from docs.generator.markers import ROOT, fill
from docs.generator.ops import common_parameters, ops

WRITERS = {
    "api": api,
    "codes": codes,
    "command": help_text,
    "common_parameters": common_parameters,
    "hooks": hooks,
    "keys": keys,
    "ops": ops,
    "responses": responses,
    "schema": schema,
}


def pages() -> dict[Path, str]:
    """Return all pages of the reference, as they have to be."""
    found = sorted((ROOT / "docs" / "reference").rglob("*.md"))
    return {path: fill(path.read_text(encoding="utf-8"), WRITERS) for path in found}
