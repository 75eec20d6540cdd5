from __future__ import annotations

import pytest

import flowcore.testing
from flowcore import BaseAsyncOp, FlowApp, InputError
from flowcore.testing import ScriptedLLM, collect, run_op, scripted_llm
from flowcore_chat.gen_system_prompt_op import GenSystemPromptOp

DEFAULT = "You are a helpful assistant."


class ShowOp(BaseAsyncOp):
    async def async_execute(self):
        show = self.context.response.metadata
        show["prompt"] = self.context.system_prompt
        show["messages"] = [(message.role, message.content) for message in self.context.messages]


async def generate(reply, **inputs):
    llm = scripted_llm([reply] if reply else [])
    language = inputs.pop("language", "")
    result = await run_op(GenSystemPromptOp(llm=llm, language=language) >> ShowOp(), **inputs)
    return result.response.metadata, str(llm.calls[0].messages[0].content)


@pytest.mark.parametrize(
    "reply",
    [
        "You are a chemist.",
        "  You are a chemist.\n",
        "```\nYou are a chemist.\n```",
        "Here it is:\n```text\nYou are a chemist.\n```\nGood luck!",
        "```You are a chemist.```",
        "```markdown\nYou are a chemist.",
    ],
)
async def test_the_prompt_is_the_fenced_block_or_else_the_whole_text(reply):
    shown, _ = await generate(reply, query="What is salt?")

    assert shown["prompt"] == "You are a chemist."


@pytest.mark.parametrize("reply", ["", "  \n", "```\n```"])
async def test_a_model_that_says_nothing_gets_a_default_prompt(reply):
    shown, _ = await generate(reply, query="What is salt?")

    assert shown["prompt"].startswith(DEFAULT)


async def test_the_messages_are_left_for_the_next_op():
    shown, _ = await generate("x", query="What is salt?")

    assert shown["messages"] == [["user", "What is salt?"]]


async def test_the_model_sees_the_whole_conversation_as_it_is():
    parts = [{"type": "text", "text": "And {sugar}?"}, {"type": "image_url", "image_url": {}}]
    history = [{"role": "user", "content": "Salt?"}, {"role": "user", "content": parts}]

    _, request = await generate("x", messages=history)

    assert "user: Salt?\nuser: And {sugar}?" in request
    assert "{conversation}" not in request


async def test_the_prompts_are_there_in_chinese():
    shown, request = await generate("", query="盐是什么", language="zh")

    assert "系统提示词" in request
    assert shown["prompt"].startswith("你是")


async def test_without_a_question_the_error_names_the_fields():
    with pytest.raises(InputError, match=r"'query'.*'messages'"):
        await run_op(GenSystemPromptOp(llm=scripted_llm()))


async def test_the_flow_of_the_guide_runs_from_its_config():
    config = {
        "llm": {
            "default": {
                "backend": "scripted",
                "replies": [["```\nYou are a guide.\n```"], ["Salt", " is NaCl."]],
            }
        },
        "flow": {
            "demo_stream_http_flow": {
                "flow_content": "GenSystemPromptOp() >> StreamChatOp()",
                "stream": True,
                "input_schema": {"query": {"type": "string", "required": True}},
            }
        },
    }

    async with FlowApp(config, plugins=[flowcore.testing]) as app:
        result = await collect(app, "demo_stream_http_flow", query="What is salt?")
        llm = app.backends.llm("default")

    assert isinstance(llm, ScriptedLLM)
    assert result.text == "Salt is NaCl."
    assert [str(message.content) for message in llm.calls[1].messages] == [
        "You are a guide.", "What is salt?",
    ]  # fmt: skip
