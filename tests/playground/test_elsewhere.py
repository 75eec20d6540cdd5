"""What goes beyond one run: code for elsewhere, keys, the history of the tab."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest
from anyio import to_thread

from tests.tools import find_tool

from .conftest import OpenSite, Site

pytestmark = pytest.mark.browser

KEY = "alice-has-this-key-0123456789"
TRICKY = 'it\'s "quoted" $HOME `x` \\ 你好 \u2028 end'
FLOWS = {
    "tell": {
        "flow_content": "TellOp(script='a')",
        "stream": True,
        "input_schema": {"query": {"type": "string", "required": False}},
    },
    "echo": {
        "flow_content": "EchoOp()",
        "input_schema": {
            "query": {"type": "string", "required": False},
            "class": {"type": "boolean", "default": True},
            "more": {"type": "object", "required": False},
        },
    },
}


async def snippet(site: Site, language: str) -> str:
    await site.page.get_by_role("radio", name=language).click()
    return await site.by_id("snippet").text_content() or ""


async def done(*command: str, **env: str) -> str:
    def run() -> str:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("FLOW")}
        finished = subprocess.run(
            command, capture_output=True, text=True, env={**clean, **env}, timeout=60, check=False
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return await to_thread.run_sync(run)


@pytest.mark.parametrize("keys", [{}, {"api_keys": {"alice": KEY}}], ids=["open", "keys"])
async def test_the_curl_command_does_the_same(open_site: OpenSite, scripts, inputs, keys):
    curl = find_tool("curl", package="curl")
    scripts["a"] = ["Hello"]
    async with open_site(FLOWS, refusals=bool(keys), **keys) as site:
        if keys:
            await site.by_id("key").fill(KEY)
            await site.page.keyboard.press("Enter")
        await site.page.get_by_label("query").fill(TRICKY)
        command = await snippet(site, "curl")
        assert KEY not in command
        command = command.replace("curl ", f"{shlex.quote(curl)} -s --noproxy '*' ", 1)
        shown = await done("sh", "-c", command, FLOWCORE_API_KEY=KEY)

    assert '"chunk":"Hello"' in shown
    assert "data:[DONE]" in shown
    assert inputs == [{"query": TRICKY}]


@pytest.mark.parametrize("keys", [{}, {"api_keys": {"alice": KEY}}], ids=["open", "keys"])
@pytest.mark.parametrize("flow", ["tell", "echo"])
async def test_the_python_code_does_the_same(open_site: OpenSite, scripts, inputs, keys, flow):
    scripts["a"] = ["Hello ", "world"]
    async with open_site(FLOWS, refusals=bool(keys), **keys) as site:
        if keys:
            await site.by_id("key").fill(KEY)
            await site.page.keyboard.press("Enter")
        await site.choose(flow)
        await site.page.get_by_label("query").fill(TRICKY)
        code = await snippet(site, "Python")
        assert KEY not in code
        shown = await done(sys.executable, "-c", code, FLOWCORE_API_KEY=KEY, NO_PROXY="*")

    if flow == "tell":
        assert shown == "Hello world"
        assert inputs == [{"query": TRICKY}]
    else:
        assert shown == f"You said **{TRICKY}**\n"
        assert inputs == [{"query": TRICKY, "class": True}]


async def test_the_examples_follow_the_inputs(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        await site.choose("echo")
        await site.page.get_by_label("query").fill("tea")
        assert '"query":"tea"' in await snippet(site, "curl")
        await site.page.get_by_label("more").fill('{"a": [null, 1.5, {}]}')
        assert 'more={"a": [None, 1.5, {}]}' in await snippet(site, "Python")
        await site.page.get_by_label("more").fill('{"a":')
        assert 'more={"a": [None, 1.5, {}]}' in await snippet(site, "Python")


async def test_behind_a_path_of_a_proxy_the_page_finds_all_that_it_needs(
    open_site: OpenSite, scripts
):
    scripts["a"] = ["**Hello**"]

    async def proxy(route):
        await route.continue_(url=route.request.url.replace("/tools/", "/"))

    async with open_site(FLOWS) as site:
        await site.page.route("**/tools/**", proxy)
        await site.open("tools/playground")
        await site.run()
        await site.page.wait_for_selector(".answer strong")
        assert f"'{site.url}/tools/tell'" in await snippet(site, "curl")
        assert f'"{site.url}/tools"' in await snippet(site, "Python")
        asked = await site.page.evaluate(
            "performance.getEntriesByType('resource').map((entry) => entry.name)"
        )
        assert len(asked) > 20
        assert all(url.startswith(f"{site.url}/tools/") for url in asked)


# --- keys ---


async def test_the_page_asks_for_a_key_and_keeps_it_in_the_tab(open_site: OpenSite, scripts):
    scripts["a"] = ["Hello"]
    async with open_site(FLOWS, api_keys={"alice": KEY}, refusals=True) as site:
        page = site.page
        assert await page.get_by_text("This service asks for a key").is_visible()
        assert not await site.by_id("main").is_visible()
        assert await page.evaluate("document.activeElement.id") == "key"
        assert "tell" not in await page.content()

        await page.keyboard.type("wrong-key-0123456789")
        await page.keyboard.press("Enter")
        await page.get_by_text("This key is not known to the service.").wait_for()
        await page.keyboard.type(KEY)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#main:not([hidden])")
        await site.run()
        await site.shows("Hello")

        await page.reload()
        await page.wait_for_selector("#main:not([hidden])")
        kept = await page.evaluate(
            "[JSON.stringify(localStorage), document.cookie, sessionStorage['flowcore.runs']]"
        )
        assert KEY not in "".join(kept)
        assert not [request for request in site.requests if KEY in request.url]

        await page.get_by_role("button", name="Forget key").click()
        await page.get_by_text("This service asks for a key").wait_for()
        assert KEY not in await page.evaluate("JSON.stringify(sessionStorage)")


async def test_a_key_that_is_taken_back_is_asked_for_again(open_site: OpenSite):
    async with open_site(FLOWS, api_keys={"alice": KEY}, refusals=True) as site:
        await site.page.keyboard.type(KEY)
        await site.page.keyboard.press("Enter")
        await site.page.wait_for_selector("#main:not([hidden])")
        await site.page.evaluate("sessionStorage['flowcore.key'] = 'another-key-0123456789'")
        await site.start()
        await site.page.get_by_text("This key is not known to the service.").wait_for()


# --- the history ---


async def test_a_run_of_this_tab_can_be_looked_at_again(open_site: OpenSite, scripts):
    scripts["a"] = ["**one**"]
    async with open_site(FLOWS) as site:
        page = site.page
        await page.get_by_label("query").fill("first question")
        await site.run()
        scripts["a"] = ["two"]
        await page.get_by_label("query").fill("second question")
        await site.run()
        await site.shows("two")
        await site.choose("echo")
        past = page.locator(".past")
        assert await past.locator(".about").all_inner_texts() == [
            *("second question", "first question"),
        ]

        await page.reload()
        await past.nth(1).click()
        await page.wait_for_selector(".answer strong")
        assert await page.get_by_label("query").input_value() == "first question"
        assert await page.get_by_role("radio", name="tell").is_checked()
        assert await page.evaluate("document.activeElement.id") == "result"
        assert len([r for r in site.requests if r.url.endswith("/tell")]) == 2


async def test_a_run_can_be_run_again(open_site: OpenSite, scripts, inputs):
    scripts["a"] = ["one"]
    async with open_site(FLOWS) as site:
        await site.page.get_by_label("query").fill("again?")
        await site.run()
        await site.choose("echo")
        scripts["a"] = ["two"]
        await site.page.get_by_role("button", name="Run again").click()
        await site.shows("two")
        await site.state("done")
        assert await site.page.locator(".past").count() == 2

    assert inputs == [{"query": "again?"}] * 2


async def test_the_history_is_of_this_tab_and_can_be_cleared(open_site: OpenSite, scripts):
    scripts["a"] = ["one"]
    async with open_site(FLOWS) as site:
        await site.run()
        other = await site.page.context.new_page()
        await other.goto(f"{site.url}/playground")
        await other.wait_for_selector("#main:not([hidden])")
        assert not await other.locator("#history").is_visible()

        await site.page.get_by_role("button", name="Clear").click()
        assert not await site.by_id("history").is_visible()
        await site.page.reload()
        await site.page.wait_for_selector("#main:not([hidden])")
        assert not await site.by_id("history").is_visible()


async def test_the_history_is_bounded(open_site: OpenSite, scripts):
    scripts["a"] = ["x" * 400_000]
    async with open_site(FLOWS) as site:
        for _ in range(23):
            await site.run()
            await site.page.wait_for_function(
                "count => JSON.parse(sessionStorage['flowcore.runs']).length >= count",
                arg=min(20, _ + 1),
            )
        assert await site.page.locator(".past").count() == 20
        assert await site.page.evaluate("sessionStorage['flowcore.runs'].length") < 1_100_000
