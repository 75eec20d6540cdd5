from __future__ import annotations

import json
import subprocess
import sys

from flowcore import Message, Role, Tool, ToolCall
from flowcore_llamacpp.request import encode_request
from flowcore_llamacpp.settings import LlamaCppSettings


def encode(params=(), messages=(), tools=None, **call):
    settings = LlamaCppSettings.model_validate({"model_name": "x", "params": dict(params)})
    return json.loads(encode_request(messages, tools, settings.sampling, call))


def test_engine_params_stay_out_of_the_request():
    body = encode({"n_ctx": 512, "n_parallel": 2, "temperature": 0.6})

    assert body["temperature"] == 0.6
    assert body.keys().isdisjoint({"n_ctx", "n_parallel"})


def test_engine_params_have_defaults_that_fit_a_chat():
    engine = LlamaCppSettings.model_validate({"params": {"temperature": 0.6}}).engine

    assert (engine.n_ctx, engine.n_parallel, engine.model_path) == (4096, 4, None)


def test_a_reply_is_limited_unless_somebody_says_otherwise():
    assert encode()["max_tokens"] == 512
    assert encode({"max_tokens": 9})["max_tokens"] == 9
    assert "max_tokens" not in encode({"n_predict": 9})
    assert "max_tokens" not in encode({"max_tokens": 9}, max_completion_tokens=7)


def test_messages_and_tools_take_the_form_of_the_openai_api():
    call = ToolCall(id="1", name="add", arguments='{"a": 1}')
    body = encode(
        messages=[
            Message(role=Role.SYSTEM, content="Be brief."),
            Message(role=Role.ASSISTANT, reasoning_content="hm", tool_calls=[call]),
            Message(role=Role.TOOL, name="add", tool_call_id="1", content="2", metadata={"a": 1}),
        ],
        tools=[Tool(name="add")],
    )

    function = {"name": "add", "arguments": '{"a": 1}'}
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "1", "type": "function", "function": function}],
        },
        {"role": "tool", "name": "add", "tool_call_id": "1", "content": "2"},
    ]
    assert body["tools"][0]["function"]["name"] == "add"
    assert "tools" not in encode()


def test_surrogate_pairs_are_joined_and_lone_ones_replaced():
    body = encode(messages=[Message(content="\ud83d\ude00 \ud83d")])

    assert body["messages"][0]["content"] == "😀 \N{REPLACEMENT CHARACTER}"


def test_the_plugin_loads_without_the_engine():
    code = "import flowcore_llamacpp.llm, sys; sys.exit('xllamacpp' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_process_that_never_closes_the_model_ends_cleanly():
    code = (
        "import anyio\n"
        "from flowcore import Message\n"
        "from flowcore_llamacpp.llm import LlamaCppLLM\n"
        "llm = LlamaCppLLM(LlamaCppLLM.Settings.model_validate({'model_name': 'smollm2',"
        " 'params': {'n_ctx': 256, 'n_parallel': 1}}))\n"
        "print(anyio.run(lambda: llm.achat([Message(content='Hi')], max_tokens=2)).role)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "assistant\n", "")
