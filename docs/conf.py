"""Settings of the documentation site, which Sphinx makes of the Markdown pages: `nox -s docs`.

The source folder is the root of the repository, so that links between all its pages work.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

INDEX = "docs/index"
ROOT = Path(__file__).parents[1]
# What `flowcore explain` prints lies in the distributions.
EXPLANATIONS = ("*/src/*/explanations/*.md", "plugins/*/src/*/explanations/*.md")

project = "flowcore"
author = "the flowcore contributors"
project_copyright = author
release = version = tomllib.loads((ROOT / "flowcore/pyproject.toml").read_text("utf-8"))["project"][
    "version"
]

extensions = ["myst_parser", "sphinx_copybutton"]
root_doc = INDEX
include_patterns = [
    *("docs/**.md", "README.md", "README.zh.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("flowcore/README.md", "flowcore-http/README.md", "plugins/*/README.md"),
    *("benchmarks/README.md", *EXPLANATIONS),
]
exclude_patterns = [".*", "build", "dist", "tests", "**/node_modules", "**/__pycache__"]
language = "en"
nitpicky = True
suppress_warnings: list[str] = []

# Headings get the anchors that they have on GitHub.
myst_heading_anchors = 4
myst_links_external_new_tab = False

html_theme = "furo"
pygments_style = "a11y-light"
pygments_dark_style = "github-dark"
html_title = f"flowcore {release}"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
html_show_sphinx = False
html_last_updated_fmt = None
html_extra_path = ["_start"]
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b6e75",
        "color-brand-content": "#0b6e75",
        "color-brand-visited": "#5c5470",
    },
    "dark_css_variables": {
        "color-brand-primary": "#5cc8cf",
        "color-brand-content": "#5cc8cf",
        "color-brand-visited": "#b9aed6",
    },
}

# A click copies what is typed, without prompts and outputs.
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
copybutton_exclude = ".linenos, .gp, .go"

# For `nox -s docs -- linkcheck`.
linkcheck_ignore = [r"http://(127\.0\.0\.1|localhost)(:\d+)?(/.*)?"]
linkcheck_timeout = 20
linkcheck_workers = 4


def add_contents(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the pages that the start page lists into the side bar, under its headings."""
    if docname == INDEX:
        above = ""
        for section in re.split(r"^#(?=##? )", source[0], flags=re.MULTILINE)[1:]:
            heading, _, text = section.partition("\n")
            level, _, title = heading.partition(" ")
            above = title if level == "#" else above
            caption = title if level == "#" else f"{above}: {title}"
            pages = re.findall(r"^- \[([^\]]+)\]\((\S+)\.md\)", text, flags=re.MULTILINE)
            if pages:
                entries = [f"{name} <{page}>" for name, page in pages]
                lines = ["```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```"]
                source[0] += "\n\n" + "\n".join([*lines, ""])
    elif "/explanations/" in docname:
        # There are many; the page about errors links to them.
        source[0] = f"---\norphan: true\n---\n{source[0]}"


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_contents)
