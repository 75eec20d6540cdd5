"""ChatOp: the whole reply of a model as the answer of the flow."""

from __future__ import annotations

from flowcore import BaseAsyncOp
from flowcore_chat.conversation import read_messages, text_of, with_system_prompt


class ChatOp(BaseAsyncOp):
    """Answers the conversation.

    Reads ``query`` or ``messages`` from the context, and ``system_prompt`` where there is one. Sets
    ``response.answer``, and in ``response.metadata`` ``usage``, ``finish_reason`` and, where the
    model gave any, ``reasoning`` and ``tool_calls``. Sets ``messages`` with the reply at its end.

    Attributes:
        system_prompt: Parameter of the op; wins over that of the context.

    Raises:
        InputError: If there is neither ``query`` nor ``messages``, or one is malformed.
    """

    system_prompt: str = ""

    async def async_execute(self) -> None:
        """Set the answer of the flow."""
        messages = read_messages(self.context, self.run.flow)
        system_prompt = self.system_prompt or self.context.get("system_prompt", "")
        reply = await self.llm.achat(with_system_prompt(messages, system_prompt))
        response = self.context.response
        response.answer = text_of(reply)
        response.metadata.update(reply.metadata)
        if reply.reasoning_content:
            response.metadata["reasoning"] = reply.reasoning_content
        if reply.tool_calls:
            response.metadata["tool_calls"] = [call.model_dump() for call in reply.tool_calls]
        self.context.messages = [*messages, reply]
