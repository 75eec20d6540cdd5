from __future__ import annotations

import anyio
import pytest

from flowcore import BaseAsyncOp, ConfigError, FlowApp, Message
from flowcore.testing import collect
from flowcore_llamacpp.llm import LlamaCppLLM

CONFIG = {
    "llm": {"default": {"backend": "openai_compatible", "params": {"temperature": 0.6}}},
}
LOCAL = ("llm.default.backend=llamacpp", "llm.default.model_name=smollm2")


class AskOp(BaseAsyncOp):
    async def async_execute(self):
        async for chunk in self.llm.astream_chat([Message(content=self.context.query)]):
            await self.context.add_stream_chunk(chunk)


async def test_any_config_runs_on_the_small_model_with_two_keys_overridden():
    with anyio.fail_after(60):
        async with FlowApp(CONFIG, *LOCAL, flows={"ask": AskOp()}) as app:
            result = await collect(app, "ask", query="Name three colors.")

    assert result.error is None
    assert result.text
    assert result.chunks[-1].metadata["finish_reason"] in {"stop", "length"}


async def test_leaving_the_stream_of_an_app_frees_the_model():
    with anyio.fail_after(60):
        async with FlowApp(CONFIG, *LOCAL, flows={"ask": AskOp()}) as app:
            async with app.stream("ask", query="Tell me a very long story.") as chunks:
                async for _ in chunks:
                    break
            llm = app.backends.llm("default")
            assert isinstance(llm, LlamaCppLLM)
            assert not llm._generations

    assert llm._model._server is None


def test_a_wrong_engine_param_is_named_with_its_place():
    with pytest.raises(ConfigError, match=r"llm\.default\.params': .*'n_ctx': .* integer"):
        FlowApp(CONFIG, *LOCAL, "llm.default.params.n_ctx=many")
