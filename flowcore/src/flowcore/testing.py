"""The test kit for authors of ops and plugins: a scripted LLM, and flows run without a server.

The module is a plugin: ``FlowApp(config, plugins=[flowcore.testing])``, or ``imports:
[flowcore.testing]`` in YAML, makes the LLM backend ``scripted`` available.

Example::

    async def test_the_op_passes_the_answer_on():
        llm = scripted_llm(["Hello", " Bob"])

        result = await run_op(StreamChatOp(llm=llm), query="Hi")

        assert result.text == "Hello Bob"
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from pydantic import BaseModel, ConfigDict

from flowcore.app import FlowApp
from flowcore.backend import ModelSettings
from flowcore.catalog import Registrar
from flowcore.ending import RunState
from flowcore.errors import BackendError
from flowcore.hookspecs import hookimpl
from flowcore.llm import BaseLLM
from flowcore.op import Op
from flowcore.schema import ChunkEnum, FlowResponse, FlowStreamChunk, Message, Tool

__all__ = [
    "LLMCall",
    "Pause",
    "Piece",
    "RunResult",
    "ScriptedError",
    "ScriptedLLM",
    "ScriptedSettings",
    "collect",
    "run_op",
    "scripted_llm",
]


class Pause(BaseModel):
    """A wait in a scripted reply, in seconds."""

    model_config = ConfigDict(extra="forbid")

    pause: float


class ScriptedError(BaseModel):
    """A failure in a scripted reply: it ends with a :class:`BackendError` of this text."""

    model_config = ConfigDict(extra="forbid")

    error: str
    code: str = "scripted_error"


Piece = str | Pause | ScriptedError | FlowStreamChunk
"""A piece of a scripted reply: answer text, a wait, a failure, or any chunk as it is."""


class ScriptedSettings(ModelSettings):
    """Settings of the scripted LLM.

    Attributes:
        replies: What it streams, a list of pieces for each call; after the last it begins again.
    """

    model_name: str = "scripted"
    replies: list[list[Piece]] = [["scripted answer"]]  # noqa: RUF012 - pydantic copies it


@dataclass(frozen=True)
class LLMCall:
    """One call that a :class:`ScriptedLLM` received."""

    messages: list[Message]
    tools: list[Tool]
    params: dict[str, Any]


class ScriptedLLM(BaseLLM):
    """Streams prepared replies and remembers what it was asked.

    Attributes:
        calls: The calls so far.
        open_streams: How many replies are being streamed now; 0 once all are ended or closed.
    """

    Settings = ScriptedSettings
    settings: ScriptedSettings

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.calls: list[LLMCall] = []
        self.open_streams = 0

    async def astream_chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> AsyncGenerator[FlowStreamChunk, None]:
        """Stream the next reply of the script, then a usage chunk."""
        reply = self.settings.replies[len(self.calls) % len(self.settings.replies)]
        self.calls.append(
            LLMCall(list(messages), list(tools or ()), {**self.settings.params, **params})
        )
        self.open_streams += 1
        try:
            count = 0
            for piece in reply:
                match piece:
                    case Pause():
                        await anyio.sleep(piece.pause)
                    case ScriptedError():
                        raise BackendError(piece.error, code=piece.code)
                    case FlowStreamChunk():
                        yield piece
                    case str():
                        yield FlowStreamChunk(chunk=piece)
                count += 1
            yield FlowStreamChunk(
                chunk_type=ChunkEnum.USAGE,
                chunk={"completion_tokens": count},
                metadata={"finish_reason": "stop"},
            )
        finally:
            self.open_streams -= 1


def scripted_llm(*replies: Sequence[Piece]) -> ScriptedLLM:
    """Return an LLM to give to an op: ``StreamChatOp(llm=scripted_llm(["Hello"]))``."""
    settings = {"replies": [list(reply) for reply in replies]} if replies else {}
    return ScriptedLLM(ScriptedSettings.model_validate(settings))


@hookimpl
def flowcore_register_llms(llms: Registrar[BaseLLM]) -> None:
    """Register the backend ``scripted``."""
    llms.add(ScriptedLLM, "scripted")


@dataclass
class RunResult:
    """What came of a run.

    Attributes:
        chunks: All chunks, in order.
        response: The response that the ops filled in.
        state: How the run ended.
        error: What an op raised, or None.
    """

    chunks: list[FlowStreamChunk] = field(default_factory=list[FlowStreamChunk])
    response: FlowResponse = field(default_factory=FlowResponse)
    state: RunState = RunState.RUNNING
    error: BaseException | None = None

    @property
    def text(self) -> str:
        """The answer as streamed: the texts of all ``answer`` chunks, joined."""
        return "".join(self.texts(ChunkEnum.ANSWER))

    def texts(self, kind: ChunkEnum) -> list[str]:
        """Return the texts of all chunks of one type."""
        return [str(chunk.chunk) for chunk in self.chunks if chunk.chunk_type is kind]


async def collect(app: FlowApp, flow: str, /, **inputs: Any) -> RunResult:
    """Run a flow of an open app to its end; a failure is in the result and not raised.

    Raises:
        UnknownNameError: If there is no such flow.
        InputError: If the inputs do not fit.
    """
    result = RunResult()
    async with app.stream(flow, **inputs) as chunks:
        run = chunks.run
        while batch := await run.receive():
            result.chunks += batch
        await run.wait()
    result.response, result.state, result.error = run.response, run.state, run.error
    return result


async def run_op(op: Op, config: Mapping[str, Any] | None = None, /, **inputs: Any) -> RunResult:
    """Run one op, or ops joined by operators, in an app of its own.

    Args:
        op: The op.
        config: Configuration of the app, where the op needs entries such as ``llm``.
        **inputs: Values of the context.

    Raises:
        Exception: Whatever the op raised, as it was raised.
    """
    async with FlowApp(config or {}, flows={"op": op}) as app:
        result = await collect(app, "op", **inputs)
    if result.error is not None:
        raise result.error
    return result
