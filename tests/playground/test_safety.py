"""Whatever flows, models and tools say, the page runs nothing of it and asks nobody else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from flowcore import ChunkEnum, FlowStreamChunk

from .conftest import OpenSite, Site

pytestmark = pytest.mark.browser

HOSTILE = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<img src='http://evil.example/x.png'>",
    "<svg onload='window.pwned = 1'></svg>",
    "<iframe srcdoc='<script>parent.pwned = 1</script>'></iframe>",
    "<a href='javascript:window.pwned = 1'>a</a>",
    "[a](javascript:window.pwned=1)",
    "[b](JaVaScRiPt&colon;window.pwned=1)",
    "[c](data:text/html;base64,PHNjcmlwdD53aW5kb3cucHduZWQ9MTwvc2NyaXB0Pg==)",
    "![d](http://evil.example/d.png)",
    "![e](data:image/svg+xml;base64,PHN2Zy8+)",
    "<javascript:window.pwned=1>",
    "<style>body{display:none}</style>",
    "<base href='http://evil.example/'>",
    "<form action='http://evil.example/'><button>x</button></form>",
    '" onmouseover="window.pwned=1',
    "</textarea></pre></code><script>window.pwned=1</script>",
    "{{constructor.constructor('window.pwned=1')()}}",
]
EVIL = " ".join(HOSTILE)


async def nothing_happened(site: Site) -> None:
    page = site.page
    assert await page.evaluate("window.pwned") is None
    found: dict[str, Any] = await page.evaluate(
        """() => ({
            elements: document.querySelectorAll(
                "main :is(script, img, iframe, style, base, object, embed, video, audio, form form)"
            ).length,
            handlers: [...document.querySelectorAll("*")].filter((node) =>
                [...node.attributes].some(({ name }) => name.startsWith("on"))).length,
            styled: document.querySelectorAll("[style]").length,
            links: [...document.links].map((link) => link.getAttribute("href")),
        })"""
    )
    links = found.pop("links")
    assert found == {"elements": 0, "handlers": 0, "styled": 0}
    assert [link for link in links if not re.match(r"https?://|mailto:|docs$|#result$", link)] == []
    for link in await page.locator("#transcript a[href]").all():
        assert await link.get_attribute("target") == "_blank"
        assert "noopener" in (await link.get_attribute("rel") or "")


@pytest.mark.parametrize("kind", [ChunkEnum.ANSWER, ChunkEnum.THINK, ChunkEnum.TOOL])
async def test_nothing_that_a_model_says_can_run(open_site: OpenSite, scripts, kind):
    texts = [f"{text}\n\n" for text in HOSTILE]
    scripts["a"] = [FlowStreamChunk(chunk_type=kind, chunk=text) for text in texts]
    async with open_site({"tell": "TellOp(script='a')"}) as site:
        await site.run()
        await site.page.wait_for_function(
            """() => transcript.textContent.includes("constructor.constructor")
                && !document.querySelector(".answer .tail")"""
        )
        await nothing_happened(site)


async def test_nothing_in_tool_calls_results_and_data_can_run(open_site: OpenSite, scripts):
    scripts["a"] = [
        FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk=content)
        for content in (
            {"id": "1", "name": EVIL, "arguments": json.dumps({EVIL: EVIL})},
            {"id": "1", "result": EVIL},
            {"id": "2", "name": "t", "arguments": EVIL},
            {"id": "2", "result": {EVIL: [EVIL]}},
            {"__proto__": {"x": 1}, "constructor": EVIL},
        )
    ] + [FlowStreamChunk(chunk={EVIL: EVIL}), FlowStreamChunk(chunk="end")]
    async with open_site({"tell": "TellOp(script='a')"}) as site:
        await site.run()
        await site.shows("end")
        await nothing_happened(site)


async def test_nothing_in_errors_can_run(open_site: OpenSite, scripts):
    scripts["a"] = [ValueError(EVIL)]
    flows = {"tell": "TellOp(script='a')", "one": {"flow_content": "TellOp(script='a')"}}
    async with open_site(flows, refusals=True) as site:
        await site.run("failed")
        await site.shows("constructor.constructor")
        await nothing_happened(site)
        await site.choose("one")
        await site.run("refused")
        await nothing_happened(site)


async def test_nothing_in_flows_and_their_schemas_can_run(open_site: OpenSite):
    flow = {
        "flow_content": f"TellOp(script={EVIL[:200]!r})",
        "description": EVIL,
        "input_schema": {
            EVIL[:200]: {"type": "string", "description": EVIL, "default": EVIL},
            "choice": {"type": "string", "enum": ["a", *HOSTILE], "description": EVIL},
            "group": {"type": "object", "properties": {EVIL: {"type": "string"}}},
        },
    }
    async with open_site({"evil": flow}) as site:
        await nothing_happened(site)
        await site.page.get_by_label("choice").select_option(HOSTILE[0])
        await site.page.get_by_role("radio", name="Python").click()
        await nothing_happened(site)
        await site.page.get_by_role("radio", name="JSON").click()
        await nothing_happened(site)


async def test_nothing_in_the_history_can_run(open_site: OpenSite, scripts):
    scripts["a"] = [EVIL, ValueError(EVIL)]
    async with open_site({"tell": "TellOp(script='a')"}) as site:
        await site.page.get_by_label("JSON object").fill(json.dumps({"query": EVIL}))
        await site.run("failed")
        await site.page.reload()
        await site.page.locator(".past").click()
        await site.state("failed")
        await site.shows("constructor.constructor")
        await nothing_happened(site)


@pytest.mark.parametrize(
    "records", ["x", "{}", "[null, 1, {}]", '[{"at": "x", "flow": 1, "body": "{", "parts": [0]}]']
)
async def test_what_others_have_left_in_the_history_does_no_harm(open_site: OpenSite, records):
    async with open_site({"echo": "EchoOp()"}) as site:
        await site.page.evaluate("text => sessionStorage.setItem('flowcore.runs', text)", records)
        await site.page.reload()
        await site.page.wait_for_selector("#main:not([hidden])")
        assert await site.page.locator(".past").count() == 0


async def test_no_flow_of_an_address_can_be_run_by_opening_it(open_site: OpenSite):
    async with open_site({"echo": "EchoOp()"}) as site:
        await site.page.goto(f"{site.url}/playground?flow=echo&query=x#run")
        await site.page.wait_for_selector("#main:not([hidden])")
        assert not [request for request in site.requests if request.method == "POST"]


async def test_a_tree_from_elsewhere_builds_only_what_is_known(open_site: OpenSite):
    async with open_site({"echo": "EchoOp()"}) as site:
        built = await site.page.evaluate(
            """async () => {
                const { build, buildSvg } = await import("/playground/tree.js");
                const trees = [
                    ["script", {}, "window.pwned = 1"], ["img", { src: "/x", onerror: "x" }],
                    ["p", { onclick: "x", style: "x", id: "x" }, ["iframe", { src: "/x" }], "text"],
                    ["a", { href: " javascript:x", onclick: "x" }, "a"],
                    ["a", { href: "java\\nscript:x" }, "a"],
                    ["ol", { start: "1; x" }], ["td", { "data-align": "x" }],
                ];
                const drawing = ["svg", { onload: "x", style: "x" },
                    ["script", {}, "x"], ["foreignObject", {}, ["p", {}, "x"]],
                    ["a", { href: "javascript:x" }], ["use", { href: "//x" }],
                    ["rect", { fill: "url(//x)", onclick: "x", "data-op": "0" }],
                    ["style", {}, "x"], ["image", { href: "//x" }], ["animate", { begin: "x" }],
                ];
                const holder = document.createElement("div");
                holder.append(...trees.map(build), buildSvg(drawing));
                return holder.outerHTML;
            }"""
        )

    anchor = '<a target="_blank" rel="noopener noreferrer nofollow">a</a>'
    assert built == (
        f"<div><p>text</p>{anchor}{anchor}<ol></ol><td></td>"
        '<svg><rect data-op="0"></rect></svg></div>'
    )
