"""For everybody: by keyboard, with a screen reader, in the dark, on a phone, in Chinese."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from axe_playwright_python.async_playwright import Axe

from flowcore import ChunkEnum, FlowStreamChunk

from .conftest import DESKTOP, PHONE, OpenSite, Site
from .test_form import SCHEMA

pytestmark = pytest.mark.browser

LONG = "an_extremely_long_word_without_any_place_to_break_it_" * 4
ANSWER = f"""# A heading of some length that has to wrap on a phone

{LONG}

| {"A column | " * 9}
|{"---|" * 9}
| {"some content | " * 9}

```python
def a_function_with_a_long_name(first_argument: str, second_argument: int) -> dict[str, list[int]]:
    return {LONG!r}
```

1. 这是一个很长的中文段落、没有空格、需要在手机上正确换行、而且不能超出屏幕的宽度。
2. `{LONG}` and <https://example.com/{LONG}>
"""
FLOWS: dict[str, Any] = {
    "ask": {
        "flow_content": "TellOp(script='a') >> (EchoOp() | TellOp(script='b'))",
        "stream": True,
        "description": f"Answers questions. {LONG}",
        "input_schema": SCHEMA,
    },
    LONG[:100]: {"flow_content": "EchoOp()"},
}


def said(*last: object) -> dict[str, list[Any]]:
    tool = {"id": "1", "name": LONG, "arguments": f'{{"x": "{LONG}"}}'}
    return {
        "a": [
            FlowStreamChunk(chunk_type=ChunkEnum.THINK, chunk=f"Hm. {LONG}"),
            FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk=tool),
            FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk={"id": "1", "result": [LONG] * 3}),
            ANSWER,
            *last,
        ],
        "b": [],
    }


async def idle(site: Site) -> None:
    pass


async def invalid(site: Site) -> None:
    await site.start()
    await site.page.wait_for_selector("[aria-invalid]")


async def _ask(site: Site, *state: str) -> None:
    await site.page.get_by_label("query").fill("What is tea?")
    await site.start()
    await site.state(*state)
    await site.page.wait_for_selector(".answer td")
    await site.page.wait_for_function("() => !document.querySelector('.answer .tail')")


async def running(site: Site) -> None:
    await _ask(site, "running")


async def done(site: Site) -> None:
    await _ask(site, "done")
    await site.page.locator("details.think summary").click()


async def failed(site: Site) -> None:
    await _ask(site, "failed")


async def shortcuts(site: Site) -> None:
    await site.page.keyboard.press("Control+/")
    await site.page.wait_for_selector("dialog[open]")


Act = Callable[[Site], Awaitable[None]]
STATES: list[tuple[Act, tuple[Any, ...]]] = [
    (idle, ()),
    (invalid, ()),
    (running, (anyio.Event,)),
    (done, ()),
    (failed, (lambda: ValueError(f"no {LONG}"),)),
    (shortcuts, ()),
]
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESKTOP},
    "dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "has_touch": True, "is_mobile": True},
    "phone-dark": {"viewport": PHONE, "color_scheme": "dark"},
    "chinese": {"viewport": DESKTOP, "locale": "zh-CN"},
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(("act", "last"), STATES, ids=[act.__name__ for act, _ in STATES])
async def test_axe_finds_nothing_serious(open_site: OpenSite, scripts, look, act, last):
    scripts |= said(*(make() for make in last))
    async with open_site(FLOWS, on={**LOOKS[look], "reduced_motion": "reduce"}) as site:
        await act(site)
        await no_faults(site)
        wide = await site.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0


async def no_faults(site: Site) -> None:
    found = await Axe().run(site.page)
    serious = [
        (fault["id"], [node["html"][:200] for node in fault["nodes"]])
        for fault in found.response["violations"]
        if fault["impact"] in {"serious", "critical"}
    ]
    assert serious == []


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
async def test_axe_finds_nothing_serious_where_a_key_is_asked_for(open_site: OpenSite, look):
    keys = {"alice": "alice-has-this-key-0123456789"}
    async with open_site(FLOWS, on=LOOKS[look], api_keys=keys, refusals=True) as site:
        await no_faults(site)


# --- the keyboard ---


async def test_everything_can_be_done_by_keyboard(open_site: OpenSite, scripts):
    gate = anyio.Event()
    scripts |= said(gate)
    async with open_site(FLOWS) as site:
        keyboard = site.page.keyboard
        focus = "document.activeElement.labels?.[0]?.innerText ?? document.activeElement.id"
        await keyboard.press("Control+k")
        assert "ask" in await site.page.evaluate(focus)
        await keyboard.press("ArrowDown")
        assert await site.page.get_by_role("radio", name=LONG[:100]).is_checked()
        await keyboard.press("ArrowUp")
        await keyboard.press("Tab")
        await keyboard.press("ArrowRight")
        assert await site.page.get_by_label("JSON object that is sent").is_visible()
        await keyboard.press("ArrowLeft")
        await keyboard.press("Tab")
        assert await site.page.evaluate(focus) == "query"
        await keyboard.type("What is tea?")
        await keyboard.press("Control+Enter")
        await site.state("running")
        await site.shows("A heading")
        assert await site.page.evaluate(focus) == "query"
        await keyboard.press("Escape")
        await site.state("stopped")
        for _ in range(40):
            await keyboard.press("Tab")
            if "past" in await site.page.evaluate("document.activeElement.className"):
                break
        await keyboard.press("Enter")
        assert await site.page.evaluate(focus) == "result"
        await site.shows("A heading")


async def test_enter_in_a_text_is_a_line_and_no_run(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        await site.page.get_by_label("query").press("Enter")
        assert await site.page.get_by_label("query").input_value() == "\n"
        assert not [request for request in site.requests if request.method == "POST"]


async def test_the_shortcuts_are_shown_and_closed_by_the_keyboard(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        await site.page.keyboard.press("Control+/")
        shown = await site.page.locator("dialog").inner_text()
        assert "Run the flow" in shown
        assert "Ctrl" in shown
        await site.page.keyboard.press("Escape")
        assert not await site.page.locator("dialog").is_visible()
        await site.by_id("help").click()
        await site.page.get_by_role("button", name="Close").click()
        assert not await site.page.locator("dialog").is_visible()


async def test_the_first_tab_stop_leads_to_the_result(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        await site.page.keyboard.press("Tab")
        await site.page.keyboard.press("Enter")
        assert await site.page.evaluate("document.activeElement.id") == "result"


async def test_a_screen_reader_hears_how_it_goes_and_not_each_chunk(open_site: OpenSite, scripts):
    gate = anyio.Event()
    scripts["a"] = ["Hello", gate]
    async with open_site({"tell": "TellOp(script='a')"}) as site:
        status = site.page.get_by_role("status")
        await site.start()
        await site.shows("Hello")
        assert await status.inner_text() == "The answer is coming."
        busy = await site.by_id("transcript").get_attribute("aria-busy")
        assert busy == "true"
        live = site.page.locator("#transcript[aria-live], #transcript [aria-live]")
        assert await live.count() == 0
        gate.set()
        await site.state("done")
        assert (await status.inner_text()).startswith("Finished in ")


# --- light and dark ---


async def ground(site: Site) -> str:
    return await site.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")


async def test_the_theme_is_that_of_the_system_until_one_is_chosen(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        light = await ground(site)
        await site.page.emulate_media(color_scheme="dark")
        dark = await ground(site)
        assert light != dark

        await site.page.get_by_role("button", name="Theme: as the system").click()
        assert await ground(site) == light
        await site.page.reload()
        await site.page.wait_for_selector("#main:not([hidden])")
        assert await ground(site) == light
        await site.page.get_by_role("button", name="Theme: light").click()
        await site.page.emulate_media(color_scheme="light")
        assert await ground(site) == dark
        await site.page.get_by_role("button", name="Theme: dark").click()
        assert await ground(site) == light


# --- languages ---


async def test_the_language_is_that_of_the_browser_until_one_is_chosen(open_site: OpenSite):
    async with open_site(FLOWS, on={"locale": "zh-CN"}) as site:
        html = site.page.locator("html")
        assert await html.get_attribute("lang") == "zh-CN"
        assert await site.page.title() == "flowcore 演练场"
        await site.page.get_by_role("button", name="English").click()
        assert await html.get_attribute("lang") == "en"
        await site.page.reload()
        await site.page.wait_for_selector("#main:not([hidden])")
        assert await site.page.title() == "flowcore playground"
        assert await site.page.get_by_role("button", name="Run").is_visible()


async def test_in_chinese_no_english_word_of_the_page_is_left(open_site: OpenSite, scripts):
    scripts |= said(ValueError("坏了"))
    flow = {"flow_content": "TellOp(script='a')", "stream": True, "description": "问答"}
    fields = {"query": {"type": "string", "description": "问题", "required": True}}
    async with open_site({"ask": {**flow, "input_schema": fields}}, on={"locale": "zh-CN"}) as site:
        await site.start()
        assert "此项必填。" in await site.by_id("form").inner_text()
        await site.page.get_by_label("query").fill("茶是什么")
        await site.run("failed")
        await site.page.wait_for_selector(".failure")
        texts: list[str] = await site.page.evaluate(
            """() => [...document.querySelectorAll("[data-text], [data-label]")].flatMap((node) =>
                [node.dataset.text && node.textContent, node.getAttribute("aria-label")])
                .filter((text) => text && !/[\\u4e00-\\u9fff]/.test(text))"""
        )
        assert set(texts) <= {"JSON", "API", "Op"}
        assert "ValueError: 坏了" in await site.transcript()


async def test_a_change_of_language_reaches_what_is_shown_already(open_site: OpenSite, scripts):
    scripts["a"] = ["Hello", ValueError("no")]
    async with open_site({"tell": "TellOp(script='a')"}) as site:
        await site.run("failed")
        await site.page.wait_for_selector(".failure")
        await site.page.get_by_role("button", name="中文").click()
        shown = await site.by_id("result").inner_text()
        assert {"失败", "首块用时", "错误编号"} <= set(shown.replace("\n", " ").split())
        assert "Hello" in shown


async def test_both_languages_have_the_same_words(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        words = await site.page.evaluate(
            """async () => {
                const text = await (await fetch("/playground/texts.js")).text();
                const part = (name) => text.split(`  ${name}: {`)[1].split("\\n  },")[0];
                const keys = (name) => [...part(name).matchAll(/^    (\\w+):.*$/gm)];
                const about = ([line, key]) => [key, ...(line.match(/\\{\\w+\\}/g) ?? []).sort()];
                return [keys("en").map(about), keys("zh").map(about)];
            }"""
        )

    assert words[0] == words[1]
    assert len(words[0]) > 50


# --- a phone ---


async def test_on_a_phone_run_is_in_reach_and_the_result_comes_into_view(
    open_site: OpenSite, scripts
):
    scripts |= said()
    async with open_site(FLOWS, on=LOOKS["phone"]) as site:
        await site.page.get_by_label("query").fill("What is tea?")
        await site.page.get_by_role("button", name="Run", exact=True).tap()
        await site.state("done")
        await site.page.wait_for_function(
            "() => { const { top } = result.getBoundingClientRect();"
            " return top >= -1 && top < innerHeight / 2; }"
        )


@pytest.mark.parametrize("look", ["light", "phone"])
async def test_stop_stays_in_reach_of_a_long_answer(open_site: OpenSite, scripts, look):
    scripts |= said("\n\n".join("a paragraph " * 20 for _ in range(40)), anyio.Event())
    async with open_site(FLOWS, on=LOOKS[look]) as site:
        await running(site)
        await site.page.locator(".answer p").last.scroll_into_view_if_needed()
        stop = site.page.locator("#result").get_by_role("button", name="Stop")
        assert await stop.evaluate(
            "(node) => { const { top, bottom } = node.getBoundingClientRect();"
            " return top >= 0 && bottom <= innerHeight; }"
        )
        await stop.click()
        await site.state("stopped")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_ops_that_run_look_unlike_those_that_have_finished(
    open_site: OpenSite, scripts, scheme
):
    scripts |= {"a": ["one "], "b": ["two", anyio.Event()]}
    flow = "TellOp(script='a') >> TellOp(script='b') >> TellOp(script='a')"
    still = {"reduced_motion": "reduce", "color_scheme": scheme}
    async with open_site({"tell": flow}, on=still) as site:
        await site.start()
        await site.shows("two")
        await site.page.wait_for_selector(".op.started")
        grounds: list[str] = await site.page.evaluate(
            "[...document.querySelectorAll('.op rect')].map((box) => getComputedStyle(box).fill)"
        )

    assert len(set(grounds)) == 3


async def test_what_is_chosen_shows_where_the_system_has_the_colours(open_site: OpenSite):
    async with open_site(FLOWS, on={"forced_colors": "active"}) as site:
        outlines: list[str] = await site.page.evaluate(
            """() => ["#modes [aria-checked=true]", "#modes [aria-checked=false]",
                ".flow:has(input:checked)"].map((chosen) =>
                    getComputedStyle(document.querySelector(chosen)).outlineStyle)"""
        )

    assert outlines == ["solid", "none", "solid"]


async def test_what_is_touched_is_large_enough(open_site: OpenSite, scripts):
    scripts |= said()
    async with open_site(FLOWS, on=LOOKS["phone"]) as site:
        await done(site)
        small: list[str] = await site.page.evaluate(
            """() => [...document.querySelectorAll("button, input, select, textarea, summary")]
                .filter((node) => node.checkVisibility()).map((node) =>
                    [node.id || node.textContent, node.getBoundingClientRect()])
                .filter(([, { width, height }]) => width < 24 || height < 24)
                .map(([name, { width, height }]) => `${name} ${width} ${height}`)"""
        )

    assert small == []


async def test_a_form_that_was_put_away_changes_its_language_too(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        await site.page.get_by_role("radio", name="JSON").click()
        await site.page.get_by_role("button", name="中文").click()
        await site.page.get_by_role("radio", name="表单").click()
        tags = await site.page.locator("#fields .tag").all_inner_texts()

    assert set(tags) == {"必填"}
