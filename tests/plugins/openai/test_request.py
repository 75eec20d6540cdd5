"""What is sent to an upstream."""

from __future__ import annotations

from typing import Any

import pytest

from flowcore import Message, Role, Tool, ToolCall

from .conftest import CANARY, MakeLLM
from .upstream import DONE, Upstream, delta, sse


@pytest.fixture(autouse=True)
def _good(upstream: Upstream) -> None:
    upstream.on("m", sse(delta("ok"), DONE))
    upstream.on("other", sse(delta("ok"), DONE))


async def body_of(
    upstream: Upstream, llm: MakeLLM, messages: list[Message], *args: Any, **params: Any
) -> dict[str, Any]:
    await llm(params={"temperature": 0.6, "top_k": 3}).achat(messages, *args, **params)
    return upstream.requests[-1].json


async def test_messages_take_the_form_of_the_api(upstream: Upstream, llm: MakeLLM):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
    call = ToolCall(id="c1", name="find", arguments='{"q": 1}')
    body = await body_of(
        upstream,
        llm,
        [
            Message(role=Role.SYSTEM, content="be brief"),
            Message(content="", metadata={"private": 1}),
            Message(content=[{"type": "text", "text": "look"}, image], name="ann"),
            Message(role=Role.ASSISTANT, reasoning_content="hm", tool_calls=[call]),
            Message(role=Role.TOOL, content="found", tool_call_id="c1"),
        ],
    )
    function = {"name": "find", "arguments": '{"q": 1}'}
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "look"}, image], "name": "ann"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "found", "tool_call_id": "c1"},
    ]


async def test_tools_take_the_form_of_the_api(upstream: Upstream, llm: MakeLLM):
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    tools = [Tool(name="find", description="search", parameters=schema), Tool(name="now")]
    body = await body_of(upstream, llm, [Message(content="hi")], tools)
    empty = {"type": "object", "properties": {}}
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "find", "description": "search", "parameters": schema},
        },
        {"type": "function", "function": {"name": "now", "parameters": empty}},
    ]
    assert "tools" not in await body_of(upstream, llm, [Message(content="hi")], [])


async def test_params_of_the_call_win_and_unknown_ones_are_sent(upstream: Upstream, llm: MakeLLM):
    body = await body_of(
        upstream,
        llm,
        [Message(content="hi")],
        temperature=0.1,
        top_k=None,
        enable_thinking=True,
        stream=False,
        extra_body={"min_p": 0.5},
        extra_headers={"x-tenant": "a"},
        extra_query={"debug": "1"},
    )
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.1,
        "enable_thinking": True,
        "min_p": 0.5,
    }
    assert upstream.requests[-1].headers["x-tenant"] == "a"
    assert upstream.requests[-1].path == "/v1/chat/completions?debug=1"


async def test_none_takes_stream_options_away(upstream: Upstream, llm: MakeLLM):
    body = await body_of(upstream, llm, [Message(content="hi")], stream_options=None)
    assert "stream_options" not in body
    assert body["top_k"] == 3


async def test_a_call_may_name_another_model(upstream: Upstream, llm: MakeLLM):
    assert (await body_of(upstream, llm, [Message(content="hi")], model="other"))[
        "model"
    ] == "other"


async def test_lone_surrogates_do_not_stop_a_request(upstream: Upstream, llm: MakeLLM):
    body = await body_of(
        upstream, llm, [Message(content="a\ud83d"), Message(content=[{"text": "\ud83d\ude00"}])]
    )
    assert [m["content"] for m in body["messages"]] == ["a\ufffd", [{"text": "😀"}]]


async def test_the_key_is_sent_and_nothing_of_the_sdk_s_own_environment(
    upstream: Upstream, llm: MakeLLM, monkeypatch: pytest.MonkeyPatch
):
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID", "BASE_URL"):
        monkeypatch.setenv(f"OPENAI_{name}", "http://127.0.0.1:9/other")
    await llm().achat([Message(content="hi")])
    await llm(api_key=None).achat([Message(content="hi")])
    first, second = upstream.requests
    assert first.headers["authorization"] == f"Bearer {CANARY}"
    assert second.headers["authorization"] == "Bearer no-key"
    assert not any("other" in value for value in first.headers.values())
