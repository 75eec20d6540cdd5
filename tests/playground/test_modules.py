"""Modules of the page that can be tried by themselves."""

from __future__ import annotations

import random

import pytest

from flowcore.sse import SSEDecoder

from .conftest import OpenSite

pytestmark = pytest.mark.browser

STREAMS = [
    ':\nid:a-0\nid:a-1\ndata:{"x":1}\n\nid:a-2\nevent:op\ndata:{}\n\ndata:[DONE]\n\n',
    "data:a\r\n\r\ndata:b\r\rdata:c\n\ndata:d\r\n\ndata:e",
    "data\n\ndata:\n\ndata: x\ndata:  y\ndata\n\n",
    "event:one\nid:1\nid\ndata:a\n\nid:2\0\ndata:b\n\nevent\ndata:c\n\n",
    "\ufeffdata:a\n\n\ufeffdata:b\n\ndata:c\u2028d\u0085e\n\n",
    "unknown:x\nretry:10\n data:x\ndata :x\n:data:x\ndata:end\n\n",
    "data:a\n\rdata:b\r\n\rdata:c\r\r\ndata:d\n\n",
    "data:\U0001f600\ndata:你好\n\n",
]


@pytest.mark.parametrize("stream", STREAMS, ids=range(len(STREAMS)))
async def test_the_decoder_of_the_page_reads_what_ours_reads(open_site: OpenSite, stream: str):
    data = stream.encode()
    ours = [[event.data, event.event, event.id] for event in SSEDecoder().feed(data)]
    chance = random.Random(1)
    cuts = [[], list(range(1, len(data)))]
    cuts += [sorted(chance.sample(range(1, len(data)), 5)) for _ in range(20)]
    async with open_site({"echo": "EchoOp()"}) as site:
        theirs = await site.page.evaluate(
            """async ([data, cuts]) => {
                const { EventDecoder } = await import("/playground/sse.js");
                return cuts.map((places) => {
                    const bytes = new TextDecoder();
                    const decoder = new EventDecoder();
                    const ends = [...places, data.length];
                    return ends.flatMap((end, index) => {
                        const piece = new Uint8Array(data.slice(ends[index - 1] ?? 0, end));
                        return decoder.feed(bytes.decode(piece, { stream: true }));
                    }).map(({ data, event, id }) => [data, event, id]);
                });
            }""",
            [list(data), cuts],
        )

    assert theirs == [ours] * len(cuts)


async def test_a_patch_of_a_tree_makes_what_a_new_one_would_be(open_site: OpenSite):
    texts = ["a *b", "a *b* c", "a *b* c\n\n- d", "a\n\n- d\n- e `f`", "a\n\n- d\n\n- e", "```\ng"]
    async with open_site({"echo": "EchoOp()"}) as site:
        same = await site.page.evaluate(
            """async (texts) => {
                const { build, patch } = await import("/playground/tree.js");
                const { fetchMarkdown } = await import("/playground/service.js");
                const grown = document.createElement("div");
                let before = [];
                const same = [];
                for (const text of [...texts, ...texts.reverse()]) {
                    const { closed, open } = await fetchMarkdown(text);
                    const trees = [...closed, ...open];
                    patch(grown, before, trees);
                    before = trees;
                    const fresh = document.createElement("div");
                    fresh.append(...trees.map(build));
                    same.push(fresh.isEqualNode(grown));
                }
                return same;
            }""",
            texts,
        )

    assert same == [True] * 12
