"""The backends ``cassette``: a real model recorded once, and replayed without it ever after."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from typing import Any
from weakref import WeakValueDictionary

import anyio
from anyio.lowlevel import checkpoint
from pydantic import Field

from flowcore.backend import ModelSettings
from flowcore.embedding import BaseEmbeddingModel
from flowcore.errors import BackendError
from flowcore.llm import BaseLLM, ChatStream
from flowcore.schema import FlowStreamChunk, Message, Tool
from flowcore.testing.cassette import Cassette, Mode, Recording, default_mode
from flowcore.testing.faults import Fault, inject
from flowcore.testing.real_backend import RealBackend, secrets_of
from flowcore.testing.recorded import chat_request, embedding_request, recorded_chunk

LEFT_PATIENCE = 5.0
"""How long a replay waits, in seconds, where the reader of the recording left."""
_PASSING = frozenset({401, 403, 408, 409, 425, 429})
"""Refusals that say nothing about the request."""


class CassetteSettings(ModelSettings):
    """Settings of the backends ``cassette``.

    Attributes:
        model_name: A label; by default the name of the model that is wrapped.
        file: The cassette, relative to the working directory.
        wraps: The entry of the real backend, as it would stand in the place of this one. It is
            made only to record.
        mode: ``once`` records where there is no file, ``none`` never, ``all`` always. By default
            what ``FLOWCORE_RECORD`` says, else ``none`` where ``CI`` is set, else ``once``.
        speed: At which multiple of the recorded pace to replay; 0 is as fast as possible.
        repeat: Whether a request that has been answered is answered again.
        ignore: Regular expressions for what may differ in texts, such as a date.
        faults: What goes wrong with the replies.
    """

    model_name: str = ""
    file: Path
    wraps: dict[str, Any] = Field(default_factory=dict)
    mode: Mode | None = None
    speed: float = Field(default=0, ge=0)
    repeat: bool = False
    ignore: list[str] = Field(default_factory=list[str])
    faults: list[Fault] = Field(default_factory=list[Fault])

    @property
    def wrapped_name(self) -> str:
        """Name of the wrapped model."""
        return str(self.wraps.get("model_name", ""))

    def open(self) -> Cassette:
        """Open the cassette.

        Raises:
            BackendError: If there is none, and none is to be recorded.
        """
        mode = self.mode or default_mode()
        return Cassette(self.file, mode, repeat=self.repeat, ignore=self.ignore)


class CassetteLLM(BaseLLM):
    """Replays what a model streamed, or records it.

    Args:
        settings: The validated config entry.
        cassette: The cassette, where several models share one.
        wraps: The real model, instead of its entry in the settings.

    Raises:
        BackendError: If there is no such cassette, and none is to be recorded.
    """

    Settings = CassetteSettings
    settings: CassetteSettings

    def __init__(
        self,
        settings: ModelSettings,
        *,
        cassette: Cassette | None = None,
        wraps: BaseLLM | None = None,
    ) -> None:
        super().__init__(settings)
        self.cassette = cassette or _cassette(self.settings)
        self.source = RealBackend("llm", self.settings.wraps, wraps)
        self._model = wraps.model_name if wraps else self.settings.wrapped_name
        entry = wraps.settings.params if wraps else self.settings.wraps.get("params")
        self._params = {**(entry or {}), **self.settings.params}
        self._calls = 0

    @property
    def model_name(self) -> str:
        """Name of the model that is wrapped, unless the settings have another."""
        return self.settings.model_name or self._model

    async def astream_chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> AsyncGenerator[FlowStreamChunk, None]:
        """Stream the recorded reply, or the model's own while it is recorded."""
        self._calls += 1
        request = chat_request(self._model, messages, tools or (), {**self._params, **params})
        if self.cassette.is_recording:
            stream = self._record(request, messages, tools, {**self.settings.params, **params})
        else:
            stream = _replay(self.cassette, request, self.settings.speed)
        faults = self.settings.faults
        async with aclosing(inject(stream, faults, self._calls)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def aclose(self) -> None:
        """Close the real model, if it was made."""
        await self.source.aclose()

    async def _record(
        self,
        request: dict[str, Any],
        messages: Sequence[Message],
        tools: Sequence[Tool] | None,
        params: dict[str, Any],
    ) -> ChatStream:
        recording = self.cassette.begin(request)
        secrets: list[str] = []
        start = monotonic()
        try:
            async with self.source.open() as llm:
                secrets = secrets_of(llm.settings)
                start = monotonic()
                async with aclosing(llm.astream_chat(messages, tools, **params)) as chunks:
                    async for chunk in chunks:
                        now = monotonic() - start
                        recording.chunks.append((now, recorded_chunk(chunk, self._model)))
                        yield chunk
        except BackendError as error:
            if error.status and 400 <= error.status < 500 and error.status not in _PASSING:
                values = {"message": str(error), "code": error.code, "status": error.status}
                recording.error = values
                self.cassette.keep(recording, secrets)
            raise
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            recording.left = True
            self.cassette.keep(recording, secrets)
            raise
        self.cassette.keep(recording, secrets)


class CassetteEmbeddingModel(BaseEmbeddingModel):
    """Replays the vectors of an embedding model, or records them.

    Args:
        settings: The validated config entry.

    Raises:
        BackendError: If there is no such cassette, and none is to be recorded.
    """

    Settings = CassetteSettings
    settings: CassetteSettings

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.cassette = _cassette(self.settings)
        self.source = RealBackend[BaseEmbeddingModel]("embedding_model", self.settings.wraps, None)

    @property
    def model_name(self) -> str:
        """Name of the model that is wrapped, unless the settings have another."""
        return self.settings.model_name or self.settings.wrapped_name

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the recorded vectors, or the model's own, which are recorded."""
        params: dict[str, Any] = self.settings.wraps.get("params") or {}
        request = embedding_request(self.settings.wrapped_name, texts, params)
        if not self.cassette.is_recording:
            await checkpoint()
            return [list(vector) for vector in self.cassette.find(request).vectors or []]
        recording = self.cassette.begin(request)
        async with self.source.open() as model:
            vectors = await model.embed(texts)
            # The caller may change its own, and the file is written anew with each call.
            recording.vectors = [list(vector) for vector in vectors]
            self.cassette.keep(recording, secrets_of(model.settings))
        return vectors

    async def aclose(self) -> None:
        """Close the real model, if it was made."""
        await self.source.aclose()


def cassette_llm(
    file: str | os.PathLike[str],
    wraps: BaseLLM | Mapping[str, Any] | None = None,
    *,
    mode: Mode | None = None,
    speed: float = 0,
    repeat: bool = False,
    ignore: Sequence[str] = (),
    faults: Sequence[Fault] = (),
    cassette: Cassette | None = None,
) -> CassetteLLM:
    """Return an LLM that replays a cassette: ``ChatOp(llm=cassette_llm("chat.yaml", {…}))``.

    Args:
        file: The cassette.
        wraps: The real model: its config entry, which is read only to record, or an LLM.
        mode: ``once``, ``none`` or ``all``; see :class:`CassetteSettings`.
        speed: At which multiple of the recorded pace to replay; 0 is as fast as possible.
        repeat: Whether a request that has been answered is answered again.
        ignore: Regular expressions for what may differ in texts, such as a date.
        faults: What goes wrong with the replies.
        cassette: The cassette, where it is open already.

    Raises:
        BackendError: If there is no such cassette, and none is to be recorded.
    """
    settings: dict[str, Any] = {"file": Path(file), "speed": speed, "repeat": repeat}
    settings |= {"ignore": list(ignore), "faults": list(faults)}
    if mode:
        settings["mode"] = mode
    if isinstance(wraps, Mapping):
        settings["wraps"] = dict(wraps)
    given = wraps if isinstance(wraps, BaseLLM) else None
    checked = CassetteSettings(**settings)
    llm = CassetteLLM(checked, cassette=cassette or checked.open(), wraps=given)
    # Nobody closes it: what it makes belongs to the event loop of one call.
    llm.source.keeps = False
    return llm


def _cassette(settings: CassetteSettings) -> Cassette:
    # Two entries that record into one file must not each write their own half of it.
    place = settings.file.resolve()
    mode = settings.mode or default_mode()
    if mode != "none" and (known := _recorders.get(place)) is not None:
        return known
    cassette = settings.open()
    if cassette.is_recording:
        _recorders[place] = cassette
    return cassette


_recorders: WeakValueDictionary[Path, Cassette] = WeakValueDictionary()


async def _replay(cassette: Cassette, request: dict[str, Any], speed: float) -> ChatStream:
    recording: Recording = cassette.find(request)
    now = 0.0
    for at, chunk in recording.chunks:
        await (anyio.sleep((at - now) / speed) if speed else checkpoint())
        now = at
        yield chunk.model_copy(deep=True)
    if recording.error is not None:
        raise BackendError(
            recording.error["message"],
            code=recording.error["code"],
            status=recording.error.get("status"),
        )
    if recording.left:
        # Where it was recorded, the reader was stopped while it waited for more.
        await anyio.sleep(LEFT_PATIENCE)
        text = (
            f"{cassette.path} was recorded with a reader that left here, and this one reads on; "
            "record it anew: pytest --record=all"
        )
        cassette.misses.append(text)
        raise BackendError(text, code="cassette_mismatch")
