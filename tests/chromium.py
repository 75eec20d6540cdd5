"""The Chromium of the system, for the tests of pages."""

from __future__ import annotations

from tests.tools import find_tool

OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def find_chromium() -> str:
    """Return the path of the browser, first of the one without windows, which is much lighter."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return find_tool(*names, package="Chromium")
