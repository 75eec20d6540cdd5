"""What a run says, as it is shown: Markdown, thoughts, tools, data; however much it is."""

from __future__ import annotations

import json

import anyio
import pytest

from flowcore import ChunkEnum, FlowStreamChunk

from .conftest import OpenSite, Site

pytestmark = pytest.mark.browser

TELL = {"tell": "TellOp(script='a')"}
MARKDOWN = """# Rivers

A **bold** and *calm* [river](https://example.com/x), `code`:

| Name | Length |
|:--|--:|
| Nile | 6650 |

```python
def flow() -> None:
    pass
```

1. one
   - nested
2. two
"""


def pieces(text: str, size: int = 7) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def tool(**content: object) -> FlowStreamChunk:
    return FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk=content)


def think(text: str) -> FlowStreamChunk:
    return FlowStreamChunk(chunk_type=ChunkEnum.THINK, chunk=text)


async def rendered(site: Site) -> None:
    """Wait until no text is left that is not parsed."""
    await site.page.wait_for_function(
        "() => document.querySelector('.answer') && !document.querySelector('.answer .tail')"
    )


async def test_an_answer_is_shown_as_markdown(open_site: OpenSite, scripts):
    scripts["a"] = pieces(MARKDOWN)
    async with open_site(TELL) as site:
        await site.run()
        await rendered(site)
        answer = site.page.locator(".answer")

        assert await answer.locator("h3").inner_text() == "Rivers"
        assert await answer.locator("strong").inner_text() == "bold"
        assert await answer.locator("td").all_inner_texts() == ["Nile", "6650"]
        assert "    pass" in (await answer.locator("pre code").text_content() or "")
        assert await answer.locator("li li").inner_text() == "nested"
        link = answer.locator("a")
        assert await link.get_attribute("href") == "https://example.com/x"
        assert await link.get_attribute("target") == "_blank"
        assert "noopener" in (await link.get_attribute("rel") or "")


async def test_lines_stay_lines(open_site: OpenSite, scripts):
    scripts["a"] = ["winter arrives\n", "a pond waits\n"]
    async with open_site(TELL) as site:
        await site.run()
        await rendered(site)

        assert await site.page.locator(".answer p").inner_text() == "winter arrives\na pond waits"


async def test_what_is_not_parsed_yet_is_shown_at_once(open_site: OpenSite, scripts):
    end = anyio.Event()
    scripts["a"] = ["**not parsed", end]
    async with open_site(TELL) as site:
        await site.page.route("**/playground/markdown", lambda route: None)
        await site.start()
        await site.shows("**not parsed")
        end.set()
        await site.state("done")


async def test_where_nothing_parses_the_text_stays_as_it_is(open_site: OpenSite, scripts):
    scripts["a"] = ["**plain**\n\ntext", " and more" * 1000, " to the end"]
    async with open_site(TELL, refusals=True) as site:
        await site.page.route("**/playground/markdown", lambda route: route.abort())
        await site.run()
        await site.shows("**plain**\n\ntext")
        await site.shows("the end")


async def test_one_request_at_a_time_so_that_none_can_overtake(open_site: OpenSite, scripts):
    gates = [anyio.Event() for _ in range(3)]
    scripts["a"] = ["one ", gates[0], "two ", gates[1], "three", gates[2]]
    waiting: list[str] = []
    most = 0

    async def slowly(route):
        nonlocal most
        waiting.append(json.loads(route.request.post_data)["text"])
        most = max(most, len(waiting))
        await anyio.sleep(0.25 if len(waiting[0]) < 6 else 0)
        await route.continue_()
        waiting.pop()

    async with open_site(TELL) as site:
        await site.page.route("**/playground/markdown", slowly)
        await site.start()
        for gate, text in zip(gates, ("one", "one two", "one two three"), strict=True):
            await site.shows(text)
            gate.set()
        await site.state("done")
        await rendered(site)
        assert await site.transcript() == "one two three"

    assert most == 1


async def test_only_the_block_that_may_change_is_sent_again(open_site: OpenSite, scripts):
    more = anyio.Event()
    scripts["a"] = ["first\n\nsecond\n\nthi", more, "rd"]
    async with open_site(TELL) as site:
        await site.start()
        await site.shows("thi")
        await rendered(site)
        more.set()
        await site.state("done")
        await rendered(site)
        assert await site.page.locator(".answer p").all_inner_texts() == [
            *("first", "second", "third"),
        ]
        last = next(r for r in reversed(site.requests) if r.url.endswith("/markdown"))

    assert last.post_data_json == {"text": "third"}


async def test_marked_text_stays_marked_while_the_answer_grows(open_site: OpenSite, scripts):
    more = anyio.Event()
    scripts["a"] = ["- first item\n- sec", more, "ond item"]
    async with open_site(TELL) as site:
        await site.start()
        await site.shows("sec")
        await rendered(site)
        await site.page.evaluate(
            "getSelection().selectAllChildren(document.querySelector('.answer li'))"
        )
        more.set()
        await site.state("done")
        await rendered(site)
        assert await site.page.evaluate("String(getSelection())") == "first item"


async def test_thoughts_are_open_while_they_come_and_then_fold(open_site: OpenSite, scripts):
    answer = anyio.Event()
    scripts["a"] = [think("Let me "), think("think."), answer, "Done."]
    async with open_site(TELL) as site:
        await site.start()
        await site.shows("Let me think.")
        block = site.page.locator("details.think")
        assert await block.locator("summary").inner_text() == "Thinking"
        assert await block.get_attribute("open") == ""
        answer.set()
        await site.shows("Done.")
        assert await block.get_attribute("open") is None
        assert await block.locator("summary").inner_text() == "Thought"
        await block.locator("summary").click()
        assert await block.locator("p").inner_text() == "Let me think."


async def test_a_tool_call_and_its_result_are_one_card(open_site: OpenSite, scripts):
    scripts["a"] = [
        tool(id="1", name="search", arguments='{"query": "tea"}'),
        tool(id="2", name="weigh", arguments="{}"),
        tool(id="1", result=["green", "black"]),
    ]
    async with open_site(TELL) as site:
        await site.run()
        cards = site.page.locator("section.tool")
        await cards.nth(1).wait_for()
        assert await cards.locator(".name").all_inner_texts() == ["search", "weigh"]
        assert await cards.first.locator("pre").all_inner_texts() == [
            *('{ "query": "tea" }', '[ "green", "black" ]'),
        ]
        assert await cards.nth(1).locator("pre").all_inner_texts() == ["{}"]


async def test_an_answer_that_is_no_text_is_shown_as_data(open_site: OpenSite, scripts):
    scripts["a"] = [FlowStreamChunk(chunk={"rows": [1, 2]})]
    async with open_site(TELL) as site:
        await site.run()
        assert '{ "rows": [ 1, 2 ] }' in await site.page.locator(".data pre").inner_text()


async def test_parts_come_in_the_order_in_which_they_were_said(open_site: OpenSite, scripts):
    scripts["a"] = [think("hm"), "one", tool(name="t", arguments="{}"), "two", think("ha"), "three"]
    async with open_site(TELL) as site:
        await site.run()
        await site.shows("three")
        classes = await site.page.evaluate(
            """[...document.getElementById("transcript").children].filter((node) => !node.hidden)
                .map((node) => node.className.split(" ")[0])"""
        )

    assert classes == ["think", "answer", "tool", "answer", "think", "answer"]


async def test_the_answer_and_a_code_block_can_be_copied(open_site: OpenSite, scripts):
    scripts["a"] = [think("hm"), "Use:\n\n```sh\nls -l\n```\n\nnow"]
    permissions = {"permissions": ["clipboard-read", "clipboard-write"]}
    async with open_site(TELL, on=permissions) as site:
        await site.run()
        await rendered(site)
        await site.page.get_by_role("button", name="Copy answer").click()
        read = "navigator.clipboard.readText()"
        assert await site.page.evaluate(read) == "Use:\n\n```sh\nls -l\n```\n\nnow"
        await site.page.get_by_role("button", name="Copy this block").click()
        assert await site.page.evaluate(read) == "ls -l\n"


async def test_a_code_block_at_the_end_can_be_copied_as_well(open_site: OpenSite, scripts):
    more = anyio.Event()
    scripts["a"] = ["```sh\nls", more, " -l\n```"]
    async with open_site(TELL) as site:
        await site.start()
        await site.shows("ls")
        more.set()
        await site.page.get_by_role("button", name="Copy this block").wait_for()
        assert await site.page.locator(".listing").inner_text() == "sh\nls -l\n"


# --- much of it ---


FLOOD = [f"word{n} " + ("\n\n" if n % 40 == 39 else "") for n in range(100_000)]


async def test_a_hundred_thousand_chunks_do_not_freeze_the_page(open_site: OpenSite, scripts):
    scripts["a"] = list(FLOOD)
    flow = {
        "flow_content": "TellOp(script='a')",
        "stream": True,
        "input_schema": {"note": {"type": "string", "required": False}},
    }
    async with open_site({"tell": flow}) as site:
        await site.page.evaluate(
            """() => {
                window.longest = 0;
                new PerformanceObserver((list) => {
                    for (const { duration } of list.getEntries()) {
                        window.longest = Math.max(window.longest, duration);
                    }
                }).observe({ entryTypes: ["longtask"] });
            }"""
        )
        await site.start()
        await site.state("running", "done")
        await site.page.get_by_label("note").fill("still there")
        await site.page.wait_for_selector("#state.done", timeout=60_000)
        numbers = await site.by_id("numbers").inner_text()
        dropped = await site.page.locator("#transcript > .notice:visible").count()
        await site.page.get_by_role("button", name="Copy answer").wait_for()

        assert "100,000" in numbers
        assert dropped == 0
        longest = await site.page.evaluate("window.longest")
        assert longest < 1000


async def test_more_than_can_be_shown_is_counted(open_site: OpenSite, scripts):
    scripts["a"] = ["x" * 60_000 + "\n\n"] * 20
    async with open_site(TELL) as site:
        await site.run()
        await site.shows("Only the first 1,000,000 characters are shown; 200,040 more have come.")


async def test_a_block_larger_than_a_request_is_shown_in_parts(open_site: OpenSite, scripts):
    lines = "".join(f"line {number}\n" for number in range(4000))
    scripts["a"] = pieces(f"```py\n{lines}```\n\nafter", 5000)
    async with open_site(TELL) as site:
        await site.run()
        await rendered(site)
        blocks = await site.page.locator(".answer pre code").all_text_contents()
        assert "".join(block if block.endswith("\n") else f"{block}\n" for block in blocks) == lines
        assert await site.page.locator(".answer > * > p").inner_text() == "after"
