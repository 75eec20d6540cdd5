"""What can go wrong with the stream of a model, at a place that a test chooses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import count
from typing import Annotated, Any, Literal

import anyio
from pydantic import BaseModel, ConfigDict, Field

from flowcore.errors import BackendError
from flowcore.llm import BaseLLM, ChatStream
from flowcore.schema import FlowStreamChunk, Message, Tool

Seconds = Annotated[float, Field(ge=0)]


class _Fault(BaseModel, ABC):
    model_config = ConfigDict(extra="forbid", frozen=True)

    after: int = Field(default=0, ge=0)
    calls: tuple[Annotated[int, Field(gt=0)], ...] = ()

    def happens(self, chunks: int) -> bool:
        """Whether it happens where so many chunks have come."""
        return self.after == chunks

    @abstractmethod
    async def happen(self) -> None:
        """Wait, or fail."""


class Stall(_Fault):
    """The stream pauses.

    Attributes:
        after: How many chunks come before.
        calls: Which calls of the model are struck, counted from 1; by default all.
        seconds: How long it pauses; by default until its reader leaves.
    """

    fault: Literal["stall"] = "stall"
    seconds: Seconds | None = None

    async def happen(self) -> None:
        """Wait."""
        await (anyio.sleep_forever() if self.seconds is None else anyio.sleep(self.seconds))


class Slow(_Fault):
    """Each chunk is late.

    Attributes:
        after: How many chunks come before, in time.
        calls: Which calls of the model are struck, counted from 1; by default all.
        seconds: How long each is late.
    """

    fault: Literal["slow"] = "slow"
    seconds: Seconds

    def happens(self, chunks: int) -> bool:
        """Whether it happens where so many chunks have come."""
        return self.after <= chunks

    async def happen(self) -> None:
        """Wait."""
        await anyio.sleep(self.seconds)


class Fail(_Fault):
    """The model fails with a :class:`BackendError`.

    Attributes:
        after: How many chunks come before.
        calls: Which calls of the model are struck, counted from 1; by default all.
        message: Text of the error.
        code: Its code, one of those that real backends have.
        status: HTTP status of the upstream.
        retry_after: Seconds that the upstream asks to wait.
    """

    fault: Literal["fail"] = "fail"
    message: str = "the model failed (an injected fault)"
    code: str = "upstream_error"
    status: int | None = None
    retry_after: float | None = None

    async def happen(self) -> None:
        """Fail."""
        raise BackendError(
            self.message, code=self.code, status=self.status, retry_after=self.retry_after
        )


class Cut(_Fault):
    """The stream breaks off, without finish reason and usage, as where a connection is lost.

    Attributes:
        after: How many chunks come before.
        calls: Which calls of the model are struck, counted from 1; by default all.
        code: ``upstream_truncated`` for a stream that ends too early, ``upstream_reset`` for a
            connection that breaks.
    """

    fault: Literal["cut"] = "cut"
    code: Literal["upstream_truncated", "upstream_reset"] = "upstream_truncated"

    async def happen(self) -> None:
        """Fail as a real backend does."""
        text = {
            "upstream_truncated": "the stream ended before its end (an injected fault)",
            "upstream_reset": "the connection broke (an injected fault)",
        }[self.code]
        raise BackendError(text, code=self.code)


Fault = Annotated[Stall | Slow | Fail | Cut, Field(discriminator="fault")]
"""What can go wrong with a stream. In YAML: ``{fault: stall, after: 2, seconds: 5}``."""


async def inject(
    stream: ChatStream, faults: Sequence[Fault], call: int
) -> AsyncGenerator[FlowStreamChunk, None]:
    """Stream what a model streams, with the faults of this call.

    A reply that is too short for a fault has it at its end, so that none is left out.

    Args:
        stream: The model's stream; closed at the end.
        faults: The faults of all calls.
        call: Which call of the model this is, counted from 1.
    """
    ours = [fault for fault in faults if not fault.calls or call in fault.calls]
    number = 0
    async with aclosing(stream) as chunks:
        for number in count():
            for fault in ours:
                if fault.happens(number):
                    await fault.happen()
            chunk = await anext(chunks, None)
            if chunk is None:
                break
            yield chunk
    for fault in ours:
        if fault.after > number:
            await fault.happen()


class FaultyLLM(BaseLLM):
    """A model whose streams have faults; :func:`faulty` makes it.

    Args:
        llm: The model.
        faults: What goes wrong with its streams.
    """

    def __init__(self, llm: BaseLLM, faults: Sequence[Fault]) -> None:
        super().__init__(llm.settings)
        self._llm = llm
        self._faults = list(faults)
        self._calls = 0

    @property
    def model_name(self) -> str:
        """Name of the model."""
        return self._llm.model_name

    async def astream_chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> AsyncGenerator[FlowStreamChunk, None]:
        """Stream the model's reply, with the faults of this call."""
        self._calls += 1
        stream = self._llm.astream_chat(messages, tools, **params)
        async with aclosing(inject(stream, self._faults, self._calls)) as chunks:
            async for chunk in chunks:
                yield chunk


def faulty(llm: BaseLLM, *faults: Fault) -> BaseLLM:
    """Return a model whose streams have faults: ``faulty(llm, Cut(after=3), Slow(seconds=0.1))``.

    Args:
        llm: Any model: scripted, on a cassette, or real.
        *faults: What goes wrong.
    """
    return FaultyLLM(llm, faults)
