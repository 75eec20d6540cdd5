"""GenSystemPromptOp: a system prompt that suits the conversation."""

from __future__ import annotations

import re

from flowcore import BaseAsyncOp, Message
from flowcore_chat.conversation import read_messages, text_of

# A model that is cut at its limit leaves the block open.
_BLOCK = re.compile(r"```(?:[\w-]*\n)?(.*?)(?:```|\Z)", re.DOTALL)


class GenSystemPromptOp(BaseAsyncOp):
    """Asks the model for a system prompt that suits the conversation.

    Reads ``query`` or ``messages`` from the context; sets ``messages``, a list of
    :class:`flowcore.Message` without the system prompt, and ``system_prompt``.

    Raises:
        InputError: If there is neither ``query`` nor ``messages``, or one is malformed.
    """

    file_path: str = __file__

    async def async_execute(self) -> None:
        """Set ``messages`` and ``system_prompt``."""
        messages = read_messages(self.context, self.run.flow)
        conversation = "\n".join(f"{message.role}: {text_of(message)}" for message in messages)
        request = self.prompt_format("gen_system_prompt", conversation=conversation)
        reply = await self.llm.achat([Message(content=request)])
        self.context.messages = messages
        self.context.system_prompt = _extract(text_of(reply)) or self.get_prompt(
            "default_system_prompt"
        )


def _extract(text: str) -> str:
    block = _BLOCK.search(text)
    return (block[1] if block else text).strip()
