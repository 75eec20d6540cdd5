"""One reply that a worker thread generates and a task of the event loop reads."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import anyio

from flowcore import BackendError, FlowStreamChunk
from flowcore_llamacpp.handoff import Handoff
from flowcore_llamacpp.model import Model
from flowcore_llamacpp.reply import Reply

logger = logging.getLogger("flowcore_llamacpp")

STOP_SECONDS: Final = 1.0
"""How long :meth:`Generation.stop` waits for the thread: it ends at the next token or, within a
prompt, at the next batch of it."""


_PROGRESS: Final = b'"prompt_progress"'
"""Marks reports that are only a chance to stop; in a text, the quotes would be escaped."""


class Generation:
    """One reply, from the request to its last chunk.

    What the engine reports waits for the reader without a bound of its own: the limit of the
    reply's tokens bounds it. The engine generates all replies in one batch, so to halt one of them
    would not save the others anything, and would keep the thread from the requests that wait.

    Args:
        model: The model that generates.
        body: The JSON request.
        threads: Where the worker runs.
    """

    def __init__(self, model: Model, body: bytes, threads: ThreadPoolExecutor) -> None:
        self._model = model
        self._body = body
        self._reply = Reply()
        self._chunks: deque[FlowStreamChunk] = deque()
        self._reports: Handoff[bytes | Exception | None] = Handoff()
        self._stopped = False
        self._ended = False
        self._future: Future[None] = threads.submit(self._work)

    async def next(self) -> FlowStreamChunk | None:
        """Return the next chunk, or None after the last.

        Raises:
            BackendError: If the model or the engine fails.
        """
        while not self._chunks:
            if self._ended:
                return None
            self._take(await self._reports.get())
        return self._chunks.popleft()

    def abort(self) -> None:
        """End the generation; its reader gets an error."""
        self._stopped = True

    async def stop(self) -> None:
        """End the generation, and wait a moment for its thread."""
        self._stopped = True
        if self._ended or self._future.cancel():
            return
        with anyio.move_on_after(STOP_SECONDS, shield=True) as scope:
            while isinstance(await self._reports.get(), bytes):
                pass
        if scope.cancelled_caught:
            logger.info("a stopped generation is still within a prompt or a load; it ends later")

    def _take(self, report: bytes | Exception | None) -> None:
        if isinstance(report, bytes):
            self._chunks.extend(self._reply.feed(report))
            return
        self._ended = True
        if isinstance(report, RuntimeError):
            raise self._reply.raised(report) from report
        if report is not None:
            raise report
        self._chunks.extend(self._reply.finish())

    def _work(self) -> None:
        end: Exception | None = None
        try:
            self._check_stop()
            self._model.server().handle_chat_completions(self._body, self._report)
            self._check_stop()
        except Exception as error:  # noqa: BLE001  raised where the reply is read
            end = error
        with suppress(RuntimeError):  # the event loop is gone, and the reader with it
            self._reports.put(end)

    def _report(self, data: bytes) -> bool:
        # Called for each token, while the engine, which has filled the processor's caches with the
        # model, is at the next one: what is done here and in the event loop slows it.
        if not (self._stopped or _PROGRESS in data):
            try:
                self._reports.put(data)
            except RuntimeError:
                self._stopped = True  # the event loop is gone, and the reader with it
        return self._stopped

    def _check_stop(self) -> None:
        if self._stopped:
            raise BackendError("the model was closed within a reply", code="closed")
