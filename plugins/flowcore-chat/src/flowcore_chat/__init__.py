"""flowcore ops for chat: GenSystemPromptOp, ChatOp and StreamChatOp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowcore import hookimpl

if TYPE_CHECKING:
    from flowcore import Op, Registrar


@hookimpl
def flowcore_register_ops(ops: Registrar[Op]) -> None:
    """Register the ops under their class names."""
    from flowcore_chat.chat_op import ChatOp  # noqa: PLC0415 - here and below: only where used
    from flowcore_chat.gen_system_prompt_op import GenSystemPromptOp  # noqa: PLC0415
    from flowcore_chat.stream_chat_op import StreamChatOp  # noqa: PLC0415

    ops.add(GenSystemPromptOp)
    ops.add(ChatOp)
    ops.add(StreamChatOp)
