"""The body of a request, in the form of the OpenAI API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowcore import Message, Tool
from flowcore_openai.surrogates import repaired_json

STREAM_DEFAULTS: Mapping[str, Any] = {"stream_options": {"include_usage": True}}
_SDK_OPTIONS = ("extra_headers", "extra_query")


def merged_params(
    defaults: Mapping[str, Any], params: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Merge the parameters of a call into the defaults of its config entry.

    None takes a default away. ``extra_headers``, ``extra_query`` and ``extra_body`` mean what
    they mean to the SDK.

    Returns:
        Fields of the request's body, and options of the SDK.
    """
    merged = {k: v for k, v in {**defaults, **params}.items() if v is not None}
    options = {k: merged.pop(k) for k in _SDK_OPTIONS if k in merged}
    extra = merged.pop("extra_body", {})
    return {**merged, **extra}, options


def chat_body(
    model: str, messages: Sequence[Message], tools: Sequence[Tool] | None, params: dict[str, Any]
) -> dict[str, Any]:
    """Return the body of a streamed chat completion; ``params`` may name another model."""
    body: dict[str, Any] = {
        "model": model,
        **params,
        "messages": [repaired_json(_message(message)) for message in messages],
        "stream": True,
    }
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
    return body


def _message(message: Message) -> dict[str, Any]:
    data: dict[str, Any] = {"role": message.role.value}
    # The API wants a content, also an empty one, unless there are tool calls in its place.
    if message.content or not message.tool_calls:
        data["content"] = message.content
    if message.tool_calls:
        data["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        data["tool_call_id"] = message.tool_call_id
    if message.name:
        data["name"] = message.name
    return data


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}
