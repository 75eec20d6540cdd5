from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowcore import (
    BackendError,
    BaseAsyncOp,
    BaseLLM,
    ConfigError,
    FlowStreamChunk,
    Message,
    ModelSettings,
    Tool,
)
from flowcore.testing import Cassette, CassetteLLM, Cut, cassette_llm, run_op
from flowcore.testing.cassette import default_mode
from flowcore.testing.cassette_file import read

from .conftest import EchoLLM

FILE = Path("folder/c.yaml")


async def ask(llm: BaseLLM, text: str = "hello you", **params: Any) -> str:
    return str((await llm.achat([Message(content=text)], **params)).content)


def recorder(llm: BaseLLM, **options: Any) -> CassetteLLM:
    return cassette_llm(FILE, llm, mode="all", **options)


def player(llm: BaseLLM, **options: Any) -> CassetteLLM:
    return cassette_llm(FILE, llm, mode="none", **options)


async def test_what_was_recorded_is_replayed_without_the_model(echo: EchoLLM) -> None:
    first = await ask(cassette_llm(FILE, echo))
    again = await ask(cassette_llm(FILE, echo))

    assert (first, again) == ("hello you ", "hello you ")
    assert echo.calls == 1


async def test_chunks_are_replayed_exactly(echo: EchoLLM) -> None:
    messages = [Message(content="a b c")]

    recorded = [chunk async for chunk in recorder(echo).astream_chat(messages)]
    replayed = [chunk async for chunk in player(echo).astream_chat(messages)]

    assert replayed == recorded
    assert [chunk.chunk for chunk in replayed] == ["a ", "b ", "c "]


async def test_a_file_records_model_messages_tools_and_params(echo: EchoLLM) -> None:
    messages = [Message(role="system", content="be kind"), Message(content="x", metadata={"a": 1})]  # pyright: ignore[reportArgumentType]

    await recorder(echo).achat(messages, [Tool(name="find")], top_p=0.1)

    assert read(FILE)[0].request == {
        "model": "echo",
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "x"},
        ],
        "tools": [
            {
                "name": "find",
                "description": "",
                "parameters": {"type": "object", "properties": {}},
            }
        ],
        "params": {"temperature": 0.5, "top_p": 0.1},
    }


async def test_the_name_is_that_of_the_model(echo: EchoLLM) -> None:
    assert recorder(echo).model_name == "echo"
    assert cassette_llm("x.yaml", {"backend": "b", "model_name": "m"}).model_name == "m"


async def test_secrets_are_kept_out(echo: EchoLLM) -> None:
    params: dict[str, Any] = {
        "extra_headers": {"Authorization": "Bearer sk-1"},
        "api_key": "sk-2",
        "extra_body": {"nested": [{"password": "sk-3"}], "X-API-Key": "sk-4"},
        "max_tokens": 9,
    }

    await ask(recorder(echo), **params)

    text = FILE.read_text(encoding="utf-8")
    assert "sk-" not in text
    assert "max_tokens: 9" in text
    assert await ask(player(echo), **params) == "hello you "


async def test_models_that_share_a_cassette_keep_the_secrets_of_each_other_out() -> None:
    cassette = Cassette(FILE, "all")
    for key in ("sk-1", "sk-2"):
        recording = cassette.begin({"texts": [f"my key is {key}"]})
        cassette.keep(recording, [key])

    assert "sk-" not in FILE.read_text(encoding="utf-8")


async def test_an_object_among_the_parameters_is_the_same_in_another_process(echo: EchoLLM) -> None:
    await ask(recorder(echo), formatter=EchoLLM.__init__)

    assert " at 0x" not in FILE.read_text(encoding="utf-8")
    assert await ask(player(echo), formatter=EchoLLM.__init__) == "hello you "


# --- modes


async def test_once_records_only_where_there_is_no_file(echo: EchoLLM) -> None:
    await ask(cassette_llm(FILE, echo, mode="once"), "one")

    with pytest.raises(BackendError) as caught:
        await ask(cassette_llm(FILE, echo, mode="once"), "two")

    assert caught.value.code == "cassette_mismatch"


async def test_all_replaces_what_there_was(echo: EchoLLM) -> None:
    await ask(recorder(echo), "one")
    await ask(recorder(echo), "two")

    assert [r.request["messages"][0]["content"] for r in read(FILE)] == ["two"]


def test_none_needs_a_file(echo: EchoLLM) -> None:
    with pytest.raises(
        BackendError, match=r"there is no cassette folder.c\.yaml; to record"
    ) as error:
        player(echo)

    assert error.value.code == "cassette_missing"


@pytest.mark.parametrize(
    ("variables", "mode"),
    [
        ({}, "once"),
        ({"CI": "true"}, "none"),
        ({"CI": "false"}, "once"),
        ({"CI": "1", "FLOWCORE_RECORD": "all"}, "all"),
        ({"FLOWCORE_RECORD": "none"}, "none"),
    ],
)
def test_the_mode_is_said_by_the_environment(
    variables: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert default_mode() == mode


def test_a_mode_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCORE_RECORD", "always")

    with pytest.raises(ConfigError, match="FLOWCORE_RECORD: write once, none or all, not 'always'"):
        default_mode()


# --- which recording answers


async def test_equal_requests_are_answered_in_order_each_once() -> None:
    class CountLLM(EchoLLM):
        async def astream_chat(
            self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
        ) -> AsyncGenerator[FlowStreamChunk, None]:
            self.calls += 1
            yield FlowStreamChunk(chunk=f"answer {self.calls}")

    counting = CountLLM(ModelSettings(model_name="c"))
    recording = recorder(counting)
    for _ in range(2):
        await ask(recording)

    llm = player(counting)

    assert [await ask(llm) for _ in range(2)] == ["answer 1", "answer 2"]
    with pytest.raises(BackendError, match="answers this request 2 times, and it was asked once"):
        await ask(llm)
    repeating = player(counting, repeat=True)
    assert [await ask(repeating) for _ in range(3)] == ["answer 1", "answer 2", "answer 1"]


async def test_requests_at_the_same_time_need_no_order(echo: EchoLLM) -> None:
    texts = ["a one", "b two", "c three"]
    recording = recorder(echo)
    async with anyio.create_task_group() as group:
        for text in texts:
            group.start_soon(ask, recording, text)
    assert sorted(r.request["messages"][0]["content"] for r in read(FILE)) == texts

    llm = player(echo)

    assert [await ask(llm, text) for text in reversed(texts)] == ["c three ", "b two ", "a one "]
    assert llm.cassette.unused == []
    assert echo.calls == 3


async def test_a_changed_request_is_shown_beside_the_nearest(echo: EchoLLM) -> None:
    recording = recorder(echo)
    await ask(recording, "Sing me a song about the sea.")
    await ask(recording, "Explain in one sentence: rainbows")
    llm = player(echo)

    with pytest.raises(BackendError) as caught:
        await ask(llm, "Explain in two sentences: rainbows")

    text = str(caught.value)
    assert "the nearest, number 2, differs" in text
    assert "-  content: 'Explain in one sentence: rainbows'" in text
    assert "+  content: 'Explain in two sentences: rainbows'" in text
    assert "pytest --record=all" in text
    assert llm.cassette.misses == [text]


@pytest.mark.parametrize("change", ["model", "params"])
async def test_another_model_or_parameter_is_a_change(echo: EchoLLM, change: str) -> None:
    await ask(recorder(echo))
    settings = {"model_name": "echo", "params": {"temperature": 0.5}}
    settings |= {"model": {"model_name": "other"}, "params": {"params": {}}}[change]
    other = EchoLLM(ModelSettings.model_validate(settings))

    with pytest.raises(BackendError, match="has no recording that answers this request"):
        await ask(player(other))


async def test_a_long_difference_is_cut_short(echo: EchoLLM) -> None:
    await ask(recorder(echo), "\n".join(f"line {n}" for n in range(200)))

    with pytest.raises(BackendError, match=r"… \d+ lines more"):
        await ask(player(echo), "\n".join(f"row {n}" for n in range(200)))


async def test_what_may_differ_is_ignored(echo: EchoLLM) -> None:
    await ask(recorder(echo), "Today is 2024-01-01.")

    llm = player(echo, ignore=[r"\d{4}-\d\d-\d\d"])

    assert await ask(llm, "Today is 2026-11-23.") == "Today is 2024-01-01. "


async def test_what_was_not_asked_for_is_known(echo: EchoLLM) -> None:
    recording = recorder(echo)
    await ask(recording, "one")
    await ask(recording, "two")
    llm = player(echo)

    await ask(llm, "two")

    assert [r.request["messages"][0]["content"] for r in llm.cassette.unused] == ["one"]
    assert recording.cassette.unused == []


# --- failures, and readers who leave


class RefusingLLM(EchoLLM):
    status: int | None = 400

    async def astream_chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> AsyncGenerator[FlowStreamChunk, None]:
        yield FlowStreamChunk(chunk="a")
        raise BackendError("too long", code="upstream_rejected", status=self.status)


async def test_a_refusal_is_replayed() -> None:
    llm = RefusingLLM(ModelSettings(model_name="r"))

    for make in (recorder, player):
        with pytest.raises(BackendError, match="too long") as caught:
            await ask(make(llm))
        assert (caught.value.code, caught.value.status) == ("upstream_rejected", 400)


@pytest.mark.parametrize("status", [None, 401, 429, 503])
async def test_a_failure_that_will_pass_is_not_recorded(status: int | None) -> None:
    llm = RefusingLLM(ModelSettings(model_name="r"))
    llm.status = status

    with pytest.raises(BackendError, match="too long"):
        await ask(recorder(llm))

    assert not FILE.exists()


async def test_a_reader_who_leaves_may_leave_again(echo: EchoLLM) -> None:
    class FirstOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            async for chunk in self.llm.astream_chat([Message(content="a b c")]):
                await self.context.add_stream_chunk(chunk)
                break

    for make in (recorder, player):
        assert (await run_op(FirstOp(llm=make(echo)))).text == "a "
    assert read(FILE)[0].left


async def test_a_reader_who_stays_where_another_left_is_told(
    echo: EchoLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowcore.testing.cassette_backends.LEFT_PATIENCE", 0)
    stream = recorder(echo).astream_chat([Message(content="a b c")])
    await anext(stream)
    await stream.aclose()
    llm = player(echo)

    with pytest.raises(BackendError, match="a reader that left here, and this one reads on"):
        await ask(llm, "a b c")

    assert len(llm.cassette.misses) == 1


async def test_a_reader_who_is_cancelled_while_the_model_is_silent_is_recorded() -> None:
    class SilentLLM(EchoLLM):
        async def astream_chat(
            self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
        ) -> AsyncGenerator[FlowStreamChunk, None]:
            yield FlowStreamChunk(chunk="a")
            tasks.cancel_scope.cancel()
            await anyio.sleep_forever()

    silent = SilentLLM(ModelSettings(model_name="s"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, recorder(silent))
    with anyio.move_on_after(0.05) as scope:
        await ask(player(silent))
    assert scope.cancelled_caught
    assert [str(chunk.chunk) for _, chunk in read(FILE)[0].chunks] == ["a"]


# --- pace and faults


async def test_a_replay_is_fast_or_at_a_pace() -> None:
    class SlowLLM(EchoLLM):
        async def astream_chat(
            self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
        ) -> AsyncGenerator[FlowStreamChunk, None]:
            await anyio.sleep(0.1)
            yield FlowStreamChunk(chunk="a")

    slow = SlowLLM(ModelSettings(model_name="s"))
    await ask(recorder(slow))

    async def seconds(speed: float) -> float:
        before = anyio.current_time()
        await ask(player(slow, speed=speed))
        return anyio.current_time() - before

    assert await seconds(1) >= 0.09
    assert await seconds(2) >= 0.04
    assert min([await seconds(0) for _ in range(3)]) < 0.09


async def test_a_cassette_may_have_faults(echo: EchoLLM) -> None:
    await ask(recorder(echo), "a b c")

    stream = player(echo, faults=[Cut(after=2)]).astream_chat([Message(content="a b c")])

    assert [(await anext(stream)).chunk for _ in range(2)] == ["a ", "b "]
    with pytest.raises(BackendError, match="ended before its end"):
        await anext(stream)


async def test_several_models_may_share_a_cassette(echo: EchoLLM) -> None:
    other = EchoLLM(ModelSettings(model_name="other"))
    shared = Cassette(FILE, "all")
    for llm in (echo, other):
        await ask(cassette_llm(FILE, llm, cassette=shared))

    replayed = Cassette(FILE, "none")

    assert await ask(cassette_llm(FILE, other, cassette=replayed)) == "hello you "
    assert [r.request["model"] for r in replayed.unused] == ["echo"]


async def test_without_a_model_nothing_can_be_recorded() -> None:
    with pytest.raises(BackendError, match="a cassette without `wraps` has no model to record"):
        await ask(cassette_llm(FILE))
