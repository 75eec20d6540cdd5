"""Writes the generated parts of the pages anew: `python -m docs.generator`."""

from __future__ import annotations

from docs.generator.pages import pages

for path, text in pages().items():
    if path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"wrote {path}")
