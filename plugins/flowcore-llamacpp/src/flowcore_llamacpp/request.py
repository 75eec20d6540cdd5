"""The request that the engine receives: the body of an OpenAI chat completion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flowcore import BackendError, Message, Role, Tool
from flowcore_llamacpp.settings import ENGINE_KEYS, RESERVED

MAX_TOKENS = 512
"""Limit of a reply that names none: small models ramble."""

_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "n_predict"})


def encode_request(
    messages: Sequence[Message],
    tools: Sequence[Tool] | None,
    defaults: Mapping[str, Any],
    params: Mapping[str, Any],
) -> bytes:
    """Return the JSON body of a streamed request.

    Args:
        messages: The conversation.
        tools: Functions that the model may call.
        defaults: Sampling parameters of the config entry.
        params: Sampling parameters of the call; they win.

    Raises:
        BackendError: If a parameter cannot be sent (code ``request_rejected``).
    """
    if fixed := sorted(params.keys() & (ENGINE_KEYS | RESERVED)):
        raise BackendError(
            f"{', '.join(map(repr, fixed))} cannot be set for a single call; "
            "what shapes the engine belongs in the params of the config entry",
            code="request_rejected",
        )
    body: dict[str, Any] = {
        **_sampling(defaults, params),
        "messages": [_message(message) for message in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        # Progress is reported for each batch of the prompt: a chance to stop within a long one.
        "return_progress": True,
    }
    if tools:
        body["tools"] = [{"type": "function", "function": tool.model_dump()} for tool in tools]
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BackendError(
            f"the request has no JSON form: {error}", code="request_rejected"
        ) from error
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Joins surrogate pairs and replaces lone ones, which the engine refuses.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _sampling(defaults: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    if _LIMITS & params.keys():
        defaults = {key: value for key, value in defaults.items() if key not in _LIMITS}
    elif not _LIMITS & defaults.keys():
        defaults = {**defaults, "max_tokens": MAX_TOKENS}
    return {**defaults, **params}


def _message(message: Message) -> dict[str, Any]:
    data: dict[str, Any] = {"role": message.role.value, "content": message.content}
    if message.name:
        data["name"] = message.name
    if message.reasoning_content:
        data["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        data["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.role is Role.TOOL:
        data["tool_call_id"] = message.tool_call_id
    return data
