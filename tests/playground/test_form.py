"""The form of a flow: made from its input schema, and checked here and by the service."""

from __future__ import annotations

import json

import pytest

from .conftest import OpenSite, Site

pytestmark = pytest.mark.browser

SCHEMA = {
    "query": {"type": "string", "description": "What you want to know", "required": True},
    "style": {"type": "string", "enum": ["short", "long"], "default": "long"},
    "level": {"type": "integer", "enum": [1, 2, 3], "required": False},
    "words": {"type": "integer", "default": 200},
    "heat": {"type": "number", "required": False},
    "cite": {"type": "boolean", "default": True},
    "loud": {"type": "boolean", "required": False},
    "tags": {"type": "array", "items": {"type": "string"}, "required": False},
    "more": {"type": "object", "required": False},
    "reader": {
        "type": "object",
        "required": False,
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "required": False},
        },
    },
}
FLOWS = {
    "ask": {"flow_content": "EchoOp()", "description": "Asks", "input_schema": SCHEMA},
    "free": {"flow_content": "EchoOp()", "description": "Takes anything"},
}


async def faults(site: Site) -> list[str]:
    shown = site.page.locator(".fault:visible")
    return [text for text in await shown.all_inner_texts() if text]


async def focused(site: Site) -> str:
    return await site.page.evaluate("document.activeElement.labels?.[0]?.innerText ?? ''")


async def test_the_flows_are_listed_and_one_of_them_is_chosen(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        radios = site.page.get_by_role("radiogroup", name="Flows").get_by_role("radio")
        assert await radios.count() == 2
        assert await radios.first.is_checked()
        assert "Takes anything" in await site.by_id("flows").inner_text()
        await site.choose("free")
        assert await site.page.get_by_label("JSON object that is sent").input_value() == "{}"


async def test_of_several_flows_one_that_streams_is_chosen_at_first(open_site: OpenSite):
    async with open_site({**FLOWS, "talk": "EchoOp()"}) as site:
        assert await site.page.get_by_role("radio", name="talk").is_checked()


async def test_many_flows_can_be_searched(open_site: OpenSite):
    flows = {f"flow_{number}": {"flow_content": "EchoOp()"} for number in range(9)}
    async with open_site(flows) as site:
        await site.page.get_by_label("Find a flow").fill("_7")
        assert await site.page.locator(".flow:visible .name").all_inner_texts() == ["flow_7"]
        await site.page.get_by_label("Find a flow").fill("nothing")
        assert await site.page.get_by_text("No flow has this in its name.").is_visible()


async def test_every_input_has_a_control_of_its_type(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        page = site.page
        query = page.get_by_label("query")
        assert await query.get_attribute("aria-required") == "true"
        described = await query.get_attribute("aria-describedby") or ""
        assert await site.by_id(described.split()[0]).inner_text() == "What you want to know"
        assert await page.get_by_label("style").locator("option").all_inner_texts() == [
            *("short", "long"),
        ]
        assert await page.get_by_label("style").input_value() == "1"
        assert await page.get_by_label("words").input_value() == "200"
        assert await page.get_by_role("switch", name="cite").is_checked()
        assert await page.get_by_label("loud").locator("option").all_inner_texts() == [
            *("not sent", "true", "false"),
        ]
        assert await page.get_by_role("group", name="reader").get_by_label("age").is_visible()


async def test_what_is_left_empty_is_not_sent(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        await site.page.get_by_label("query").fill("why?")
        await site.run()
        sent = _sent(site)

    assert sent == {"query": "why?", "style": "long", "words": 200, "cite": True}


def _sent(site: Site):
    return next(
        request.post_data_json
        for request in site.requests
        if request.method == "POST" and not request.url.endswith("/markdown")
    )


async def test_every_type_is_sent_as_it_is(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        page = site.page
        await page.get_by_label("query").fill('two\nlines \\ "quoted" 你好')
        await page.get_by_label("style").select_option("short")
        await page.get_by_label("level").select_option("2")
        await page.get_by_label("words").fill("-7")
        await page.get_by_label("heat").fill("1e-3")
        await page.get_by_role("switch", name="cite").uncheck()
        await page.get_by_label("loud").select_option("true")
        await page.get_by_label("tags").fill('["a", "b"]')
        await page.get_by_label("more").fill('{"x": [1]}')
        group = page.get_by_role("group", name="reader")
        await group.get_by_label("name").fill("Ada")
        await group.get_by_label("age").fill("36")
        await site.run()

        assert _sent(site) == {
            "query": 'two\nlines \\ "quoted" 你好',
            "style": "short",
            "level": 2,
            "words": -7,
            "heat": 0.001,
            "cite": False,
            "loud": True,
            "tags": ["a", "b"],
            "more": {"x": [1]},
            "reader": {"name": "Ada", "age": 36},
        }


async def test_a_required_input_that_is_missing_is_told_at_its_field(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        await site.start()

        assert await faults(site) == [
            "This input is required.",
            "Please look at the inputs that are marked.",
        ]
        assert await focused(site) == "query"
        assert await site.page.get_by_label("query").get_attribute("aria-invalid") == "true"
        assert not [request for request in site.requests if request.method == "POST"]

        await site.page.get_by_label("query").fill("x")
        assert await faults(site) == []


@pytest.mark.parametrize(
    ("label", "typed", "fault"),
    [
        ("words", "3.5", "Write a whole number, such as 3."),
        ("words", "12345678901234567890", "This number is too large to be sent exactly"),
        ("heat", "hot", "Write a number, such as 0.5."),
        ("heat", "1e999", "Write a number, such as 0.5."),
        ("tags", '{"a": 1}', "Write a JSON array, such as [1, 2]."),
        ("more", "[", 'Write a JSON object, such as {"key": "value"}.'),
    ],
)
async def test_what_is_no_value_of_its_type_is_told_at_its_field(
    open_site: OpenSite, label, typed, fault
):
    async with open_site(FLOWS) as site:
        await site.page.get_by_label("query").fill("x")
        await site.page.get_by_label(label).fill(typed)
        await site.start()

        assert (await faults(site))[0].startswith(fault)
        assert await focused(site) == label


async def test_what_the_service_finds_wrong_is_told_at_the_field(open_site: OpenSite):
    async with open_site(FLOWS, refusals=True) as site:
        await site.page.get_by_label("query").fill("x")
        await site.page.get_by_label("tags").fill('["a", 7]')
        await site.run("invalid")

        assert (await faults(site))[0] == "1: Input should be a valid string"
        assert await focused(site) == "tags"
        assert "invalid_input" in await site.by_id("result").inner_text()
        assert await site.by_id("status").inner_text() == "The service did not accept the inputs."


async def test_the_inputs_can_be_written_as_json(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        page = site.page
        await page.get_by_label("query").fill("why?")
        await page.get_by_role("radio", name="JSON").click()
        body = page.get_by_label("JSON object that is sent")
        assert json.loads(await body.input_value())["query"] == "why?"

        await body.fill('{"query": "x", "words": 9007199254740993, "extra": [1]}')
        await site.start()
        await site.state("done")
        sent = [r.post_data for r in site.requests if r.url.endswith("/ask")]
        assert sent == ['{"query": "x", "words": 9007199254740993, "extra": [1]}']

        await page.get_by_role("radio", name="Form").click()
        assert await page.get_by_label("query").input_value() == "x"
        await page.get_by_role("radio", name="JSON").click()
        assert json.loads(await body.input_value())["extra"] == [1]


async def test_what_was_typed_is_still_there_after_a_look_at_another_flow(open_site: OpenSite):
    async with open_site(FLOWS) as site:
        await site.page.get_by_label("query").fill("half a quest")
        await site.page.get_by_label("words").fill("12")
        await site.choose("free")
        await site.page.get_by_label("JSON object that is sent").fill('{"a": 1}')
        await site.choose("ask")
        assert await site.page.get_by_label("query").input_value() == "half a quest"
        assert await site.page.get_by_label("words").input_value() == "12"
        await site.choose("free")
        body = await site.page.get_by_label("JSON object that is sent").input_value()
        assert json.loads(body) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "fault"),
    [("{", "This is not valid JSON: "), ("[]", 'Write a JSON object, such as {"key": "value"}.')],
)
async def test_json_that_is_none_is_not_sent(open_site: OpenSite, text, fault):
    async with open_site(FLOWS) as site:
        await site.choose("free")
        await site.page.get_by_label("JSON object that is sent").fill(text)
        await site.start()

        assert (await faults(site))[0].startswith(fault)
        assert not [request for request in site.requests if request.method == "POST"]
