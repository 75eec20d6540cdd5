"""The documentation site in a browser: search, themes, copying, and pages that fit a phone."""

from __future__ import annotations

import threading
from collections.abc import Generator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

pytestmark = pytest.mark.browser


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base
        pass


@pytest.fixture(scope="module")
def url(site: Path) -> Generator[str]:
    handler = partial(_Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser: Browser, url: str) -> Generator[Page]:
    """A tab as wide as a phone; a page that asks others, or complains, fails its test."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, base_url=url)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    complaints: list[str] = []

    def complain(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:  # what is not found is an error
            complaints.append(f"{page.url}: {message.text}")

    page.on("console", complain)
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    yield page
    context.close()
    assert complaints == []
    assert [each for each in asked if not each.startswith((url, "data:"))] == []


def test_every_page_fits_a_phone(page: Page, site: Path):
    too_wide: list[str] = []
    for path in sorted({*site.rglob("*.html")} - {site / "index.html"}):  # which leads on
        page.goto(path.relative_to(site).as_posix())
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            too_wide.append(path.name)

    assert too_wide == []


def test_the_search_finds_a_page(page: Page):
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto("docs/index.html")
    page.get_by_placeholder("Search").fill("cancellation")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="What cancellation means", exact=True).last.click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("What cancellation means")


def test_the_theme_can_be_chosen(page: Page):
    page.goto("docs/index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    seen: set[str] = set()
    for _ in range(3):  # light, dark, and what the system says
        page.locator(".theme-toggle:visible").first.click()
        seen.add(page.evaluate(background))

    assert len(seen) == 2


def test_a_click_copies_a_command_and_not_its_output(page: Page):
    page.goto("docs/index.html")
    block = page.locator(".highlight-console").first
    block.hover()
    block.locator("button.copybtn").click()

    assert page.evaluate("navigator.clipboard.readText()").strip() == "flowcore config=explain"
