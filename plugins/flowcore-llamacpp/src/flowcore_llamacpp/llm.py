"""The LLM backend ``llamacpp``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_thread

from flowcore import BackendError, BaseLLM, FlowStreamChunk, Message, Tool
from flowcore_llamacpp.generation import Generation
from flowcore_llamacpp.model import Model
from flowcore_llamacpp.model_file import find_model
from flowcore_llamacpp.request import encode_request
from flowcore_llamacpp.settings import LlamaCppSettings

CLOSE_SECONDS = 5.0
"""How long :meth:`LlamaCppLLM.aclose` waits; what takes longer, such as a load, goes on alone."""


class LlamaCppLLM(BaseLLM):
    """A GGUF model, run in this process by llama.cpp.

    The model loads when the app opens, or on first use, and is freed by :meth:`aclose`. Up to
    ``n_parallel`` requests are generated at once, in one batch; others wait, in order, without a
    thread.

    Args:
        settings: The validated config entry.

    Raises:
        BackendError: If the model's file is missing or is no GGUF.
    """

    Settings = LlamaCppSettings

    def __init__(self, settings: LlamaCppSettings) -> None:
        super().__init__(settings)
        self._sampling = settings.sampling
        path = find_model(settings.model_name, settings.engine.model_path)
        self._name = settings.model_name or path.stem
        self._model = Model(path, self._name, settings.engine)
        self._threads = ThreadPoolExecutor(settings.engine.n_parallel, "flowcore-llamacpp")
        self._generations: set[Generation] = set()
        self._closed = False

    @property
    def model_name(self) -> str:
        """Name of the model; without one in the config, that of the file."""
        return self._name

    async def load(self) -> None:
        """Load the model, if that has not been done.

        The engine holds Python's lock for most of the time that it takes, 0.5 s for a small model:
        best done before there is anything to halt.

        Raises:
            BackendError: If it cannot be loaded (code ``model_load_failed``).
        """
        limiter = anyio.CapacityLimiter(1)
        await anyio.to_thread.run_sync(self._model.server, limiter=limiter)

    async def astream_chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, **params: Any
    ) -> AsyncGenerator[FlowStreamChunk, None]:
        """Stream the model's reply; see :meth:`flowcore.BaseLLM.astream_chat`.

        Args:
            messages: The conversation, oldest first.
            tools: Functions that the model may call; the chat template must know tools, or the
                model does not see them.
            **params: Sampling parameters in the form of the OpenAI API and of llama.cpp's server.

        Raises:
            BackendError: With the code ``model_load_failed``, ``context_exceeded``,
                ``request_rejected``, ``generation_failed`` or ``closed``.
        """
        body = encode_request(messages, tools, self._sampling, params)
        if self._closed:
            raise BackendError(f"the model {self._name!r} has been closed", code="closed")
        generation = Generation(self._model, body, self._threads)
        self._generations.add(generation)
        try:
            while chunk := await generation.next():
                yield chunk
        finally:
            self._generations.discard(generation)
            await generation.stop()

    async def aclose(self) -> None:
        """End what is still being generated, wait for its threads and free the model."""
        self._closed = True
        for generation in self._generations:
            generation.abort()
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await anyio.to_thread.run_sync(
                self._free, limiter=anyio.CapacityLimiter(1), abandon_on_cancel=True
            )

    def _free(self) -> None:
        self._threads.shutdown()
        self._model.free()
