"""The conversation that the context of a run holds, as ``query`` or as ``messages``."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from flowcore import FlowContext, InputError, Message, Role

_MESSAGES = TypeAdapter(list[Message])
_FROM_QUERY = "from_query"


def read_messages(context: FlowContext, flow: str) -> list[Message]:
    """Return the conversation, oldest message first.

    ``query`` becomes the last message, once: an op that has stored the result as ``messages`` does
    not make the next op add it again.

    Args:
        context: The context of the run.
        flow: Name of the flow, for messages.

    Raises:
        InputError: If there is neither ``query`` nor ``messages``, or one is malformed.
    """
    try:
        messages = _MESSAGES.validate_python(context.get("messages") or [])
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        raise InputError(
            flow, [{**fault, "loc": ("messages", *fault["loc"])} for fault in faults]
        ) from None
    query = context.get("query") or ""
    if not isinstance(query, str):
        raise InputError(flow, [{"loc": ["query"], "msg": "must be a text", "type": "string_type"}])
    if query and not any(_FROM_QUERY in message.metadata for message in messages):
        messages.append(Message(content=query, metadata={_FROM_QUERY: True}))
    if not messages:
        missing = "give a question in 'query', or a conversation in 'messages'"
        raise InputError(flow, [{"loc": ["query"], "msg": missing, "type": "missing"}])
    return messages


def with_system_prompt(messages: Sequence[Message], system_prompt: str) -> list[Message]:
    """Return the messages with a system prompt in front.

    Where they begin with a system message, it is joined to the prompt: many models take only one.
    """
    if not system_prompt:
        return list(messages)
    first, *rest = messages
    if first.role is not Role.SYSTEM:
        return [Message(role=Role.SYSTEM, content=system_prompt), *messages]
    return [Message(role=Role.SYSTEM, content=f"{system_prompt}\n\n{text_of(first)}"), *rest]


def text_of(message: Message) -> str:
    """Return the text of a message; parts that are no text, such as pictures, are left out."""
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part["text"] for part in message.content if isinstance(part.get("text"), str))
