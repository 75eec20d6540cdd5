"""StreamChatOp: the reply of a model, chunk by chunk."""

from __future__ import annotations

from contextlib import aclosing

from flowcore import BaseAsyncOp, ChunkEnum, Message, Role, ToolCall
from flowcore_chat.conversation import read_messages, with_system_prompt


class StreamChatOp(BaseAsyncOp):
    """Streams the model's reply to the conversation.

    Reads ``query`` or ``messages`` from the context, and ``system_prompt`` where there is one.
    Sends ``think``, ``answer``, ``tool`` and ``usage`` chunks. Sets ``messages`` with the reply at
    its end.

    Attributes:
        system_prompt: Parameter of the op; wins over that of the context.

    Raises:
        InputError: If there is neither ``query`` nor ``messages``, or one is malformed.
    """

    system_prompt: str = ""

    async def async_execute(self) -> None:
        """Stream the reply."""
        messages = read_messages(self.context, self.run.flow)
        system_prompt = self.system_prompt or self.context.get("system_prompt", "")
        request = with_system_prompt(messages, system_prompt)
        answer: list[str] = []
        tool_calls: list[ToolCall] = []
        async with aclosing(self.llm.astream_chat(request)) as chunks:
            async for chunk in chunks:
                if chunk.chunk_type is ChunkEnum.DONE:
                    break
                if chunk.chunk_type is ChunkEnum.ANSWER:
                    answer.append(str(chunk.chunk))
                elif chunk.chunk_type is ChunkEnum.TOOL:
                    tool_calls.append(ToolCall.model_validate(chunk.chunk))
                await self.context.add_stream_chunk(chunk)
        reply = Message(role=Role.ASSISTANT, content="".join(answer), tool_calls=tool_calls)
        self.context.messages = [*messages, reply]
