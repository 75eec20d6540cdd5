"""Running a flow: what comes is shown as it comes, and every end is told for what it is."""

from __future__ import annotations

import anyio
import pytest

from flowcore import ChunkEnum, FlowStreamChunk

from .conftest import OpenSite, Site

pytestmark = pytest.mark.browser

TELL = {"tell": "TellOp(script='a')"}


async def test_chunks_are_shown_as_they_come(open_site: OpenSite, scripts):
    more, end = anyio.Event(), anyio.Event()
    scripts["a"] = ["Hello ", more, "**world**", end]
    async with open_site(TELL) as site:
        await site.start()
        await site.shows("Hello")
        assert await site.by_id("state").inner_text() == "Running"
        more.set()
        await site.page.wait_for_selector(".answer strong")
        assert "Hello world" in await site.transcript()
        end.set()
        await site.state("done")
        assert (await site.by_id("status").inner_text()).startswith("Finished in ")


async def test_usage_and_timing_are_shown(open_site: OpenSite, scripts):
    usage = {"prompt_tokens": 1200, "completion_tokens": 30, "total_tokens": 1230}
    scripts["a"] = ["a", "b", FlowStreamChunk(chunk_type=ChunkEnum.USAGE, chunk=usage)]
    async with open_site(TELL) as site:
        await site.run()
        rows = await site.page.locator("#numbers > div").all_inner_texts()
        numbers = dict(row.split("\n") for row in rows)

    assert list(numbers) == ["First chunk", "Total", "Chunks", "Chunks/s", "Tokens"]
    assert numbers["Chunks"] == "3"
    assert numbers["Tokens"] == "1,230 1,200 in, 30 out"
    assert numbers["First chunk"].endswith("s")


async def test_a_model_streams_into_the_page(open_site: OpenSite):
    replies = [["A ", {"pause": 0.05}, "scripted *answer*"]]
    llm = {"default": {"backend": "scripted", "replies": replies}}
    async with open_site({"chat": "PassOnOp()"}, config={"llm": llm}) as site:
        await site.run()
        await site.page.wait_for_selector(".answer em")
        assert await site.transcript() == "A scripted answer"


async def test_a_flow_with_one_answer_is_run_as_well(open_site: OpenSite):
    async with open_site({"echo": {"flow_content": "EchoOp()"}}) as site:
        await site.page.get_by_label("JSON object").fill('{"query": "hi"}')
        await site.run()
        await site.page.wait_for_selector(".answer strong")
        assert await site.transcript() == "You said hi"
        titles = await site.page.locator("#numbers dt").all_inner_texts()
        assert titles == ["Total"]


async def test_a_failed_run_tells_error_code_op_and_id(open_site: OpenSite, scripts, caplog):
    scripts["a"] = ["Tea is ", ValueError("the kettle is empty")]
    async with open_site(TELL) as site:
        await site.run("failed")
        await site.page.wait_for_selector(".failure")
        shown = await site.transcript()
        error_id = await site.page.locator(".failure dd").last.inner_text()

    assert "Tea is" in shown
    assert "ValueError: the kettle is empty" in shown
    assert {"op_failed", "tell_op"} <= set(shown.split())
    assert error_id in caplog.text


async def test_a_failed_run_of_one_answer_tells_the_same(open_site: OpenSite, scripts):
    scripts["a"] = [ValueError("the kettle is empty")]
    flow = {"flow_content": "TellOp(script='a')"}
    async with open_site({"tell": flow}, refusals=True) as site:
        await site.run("refused")
        shown = await site.page.locator(".failure").inner_text()

    assert "ValueError: the kettle is empty" in shown
    assert "500 op_failed" in shown
    assert "Error id" in shown


async def test_stop_cancels_the_run_at_the_service(open_site: OpenSite, scripts):
    scripts["a"] = ["one ", anyio.Event()]
    async with open_site(TELL) as site:
        await site.start()
        await site.shows("one")
        (run,) = site.app.runs.values()
        await site.by_id("stop").click()
        await site.state("stopped")

        assert (run.state.value, run.cancel_reason) == ("cancelled", "api")
        assert "one" in await site.transcript()
        assert await site.by_id("run").is_enabled()
        assert await site.page.evaluate("document.activeElement.id") == "run"


async def test_stop_before_the_answer_begins_cancels_the_run_at_the_service(
    open_site: OpenSite, scripts
):
    scripts["a"] = [anyio.Event()]
    async with open_site(TELL) as site:
        for _ in range(3):
            await site.page.evaluate(
                "for (const id of ['run', 'stop', 'stop']) document.getElementById(id).click()"
            )
            await site.state("stopped")
            assert not site.app.runs
        assert [request.url[-7:] for request in site.requests].count("/cancel") == 3


async def test_the_focus_goes_from_run_to_stop_and_back(open_site: OpenSite, scripts):
    end = anyio.Event()
    scripts["a"] = ["one ", end]
    async with open_site(TELL) as site:
        await site.by_id("run").focus()
        await site.page.keyboard.press("Enter")
        await site.shows("one")
        assert await site.page.evaluate("document.activeElement.id") == "stop"
        end.set()
        await site.state("done")
        assert await site.page.evaluate("document.activeElement.id") == "run"


async def test_stop_ends_the_wait_for_one_answer(open_site: OpenSite, scripts):
    scripts["a"] = [anyio.Event()]
    flow = {"flow_content": "TellOp(script='a')"}
    async with open_site({"tell": flow}) as site:
        await site.start()
        with anyio.fail_after(5):
            while not site.app.runs:
                await anyio.sleep(0.01)
        (run,) = site.app.runs.values()
        await site.page.keyboard.press("Escape")
        await site.state("stopped")
        with anyio.fail_after(5):
            await run.wait()

    assert run.state.value == "cancelled"


async def test_to_choose_another_flow_cancels_the_run(open_site: OpenSite, scripts):
    scripts["a"] = ["one ", anyio.Event()]
    async with open_site({**TELL, "other": "EchoOp()"}) as site:
        await site.start()
        await site.shows("one")
        (run,) = site.app.runs.values()
        await site.choose("other")
        with anyio.fail_after(5):
            await run.wait()

        assert run.state.value == "cancelled"
        assert "Nothing has run yet" in await site.transcript()


# --- streams that are cut ---


GRACE = {
    "tell": {
        "flow_content": "TellOp(script='a')",
        "stream": True,
        "on_disconnect": {"grace": 10},
    }
}


async def test_a_cut_stream_is_resumed_where_it_was_cut(open_site: OpenSite, scripts):
    scripts["a"] = [f"word{number} " for number in range(200)]
    async with open_site(GRACE) as site:
        await site.page.route("**/tell", _cut_in_the_middle)
        await site.run()
        await site.shows("word199")
        assert (await site.transcript()).split() == [f"word{number}" for number in range(200)]
        resumed = [r for r in site.requests if r.url.endswith("/events")]
        assert len(resumed) == 1


async def _cut_in_the_middle(route):
    response = await route.fetch()
    body = await response.body()
    await route.fulfill(response=response, body=body[: len(body) // 2])


async def test_a_stream_that_cannot_be_resumed_is_told_to_be_cut(open_site: OpenSite, scripts):
    words = [f"word{number} " for number in range(50)]
    scripts["a"] = ["```sh\n", *words, "\n```\n\nThe end"]
    async with open_site(GRACE, refusals=True) as site:
        await site.page.route("**/tell", _cut_in_the_middle)
        await site.page.route("**/runs/*/events", lambda route: route.abort())
        await site.run("cut")

        assert await site.by_id("state").inner_text() == "Cut"
        assert "only a part of the answer" in await site.by_id("result").inner_text()

        await site.page.unroute("**/runs/*/events")
        await site.page.get_by_role("button", name="Read on").click()
        await site.state("done")
        await site.shows("The end")
        code = site.page.locator(".answer pre code")
        assert await code.all_text_contents() == [f"{''.join(words)}\n"]
        assert "only a part" not in await site.by_id("result").inner_text()


async def test_events_that_are_lost_for_good_are_told(open_site: OpenSite, scripts):
    words = [f"word{number} " for number in range(100)]
    scripts["a"] = [*words, 0.1, *words, 0.1, *words]
    async with open_site(GRACE, replay={"bytes_per_run": 0}) as site:
        await site.page.route("**/tell", _cut_in_the_middle)
        await site.run()
        await site.shows("are missing")


async def test_a_service_that_is_gone_is_told(open_site: OpenSite):
    async with open_site({"echo": "EchoOp()"}, refusals=True) as site:
        await site.page.route("**/echo", lambda route: route.abort())
        await site.run("refused")
        shown = await site.by_id("result").inner_text()

    assert "The service cannot be reached. Is it still running?" in shown


# --- the graph ---


async def ops(site: Site) -> dict[str, str]:
    """Return the class of each op in the drawing."""
    return await site.page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("#drawing [data-op]")].map(
            (node) => [node.dataset.op, node.getAttribute("class")]))"""
    )


async def test_the_ops_that_run_are_lit(open_site: OpenSite, scripts):
    gates = [anyio.Event(), anyio.Event()]
    scripts |= {"a": ["one ", gates[0]], "b": ["two ", gates[1]], "c": []}
    flow = "TellOp(script='a') >> (TellOp(script='b') | TellOp(script='c'))"
    async with open_site({"demo": flow}) as site:
        assert await ops(site) == {"0.0": "op", "0.1.0": "op", "0.1.1": "op"}
        await site.start()
        await site.shows("one")
        assert await ops(site) == {"0.0": "op started", "0.1.0": "op", "0.1.1": "op"}
        gates[0].set()
        await site.shows("two")
        await site.page.wait_for_selector('[data-op="0.1.1"].finished')
        assert (await ops(site))["0.0"] == "op finished"
        assert (await ops(site))["0.1.0"] == "op started"
        gates[1].set()
        await site.state("done")
        assert set((await ops(site)).values()) == {"op finished"}


async def test_an_op_that_fails_is_marked(open_site: OpenSite, scripts):
    scripts |= {"a": [ValueError("no")], "b": []}
    async with open_site({"demo": "TellOp(script='a') >> TellOp(script='b')"}) as site:
        await site.run("failed")
        assert await ops(site) == {"0.0": "op failed", "0.1": "op"}


async def test_the_drawing_tells_its_content_in_words(open_site: OpenSite):
    async with open_site({"demo": "EchoOp() >> EchoOp()"}) as site:
        drawing = site.page.locator("#drawing svg")
        assert await drawing.get_attribute("role") == "img"
        assert await drawing.locator("desc").text_content() == "EchoOp, then EchoOp"
