"""One reply that a worker thread generates and a task of the event loop reads."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
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


class Generation:
    """One reply, from the request to its last chunk.

    Chunks wait for the reader without a bound of their own: the limit of the reply's tokens bounds
    them. The engine generates all replies in one batch, so to halt one of them would not save the
    others anything, and would keep the thread from the requests that wait.

    Args:
        model: The model that generates.
        body: The JSON request.
        threads: Where the worker runs.
    """

    def __init__(self, model: Model, body: bytes, threads: ThreadPoolExecutor) -> None:
        self._model = model
        self._body = body
        self._stop = threading.Event()
        self._handoff: Handoff[FlowStreamChunk | Exception | None] = Handoff()
        self._ended = False
        self._future: Future[None] = threads.submit(self._work)

    async def next(self) -> FlowStreamChunk | None:
        """Return the next chunk, or None after the last.

        Raises:
            BackendError: If the model or the engine fails.
        """
        item = await self._handoff.get()
        if isinstance(item, FlowStreamChunk):
            return item
        self._ended = True
        if item is None:
            return None
        raise item

    def abort(self) -> None:
        """End the generation; its reader gets an error."""
        self._stop.set()

    async def stop(self) -> None:
        """End the generation, and wait a moment for its thread."""
        self._stop.set()
        if self._ended or self._future.cancel():
            return
        with anyio.move_on_after(STOP_SECONDS, shield=True) as scope:
            while isinstance(await self._handoff.get(), FlowStreamChunk):
                pass
        if scope.cancelled_caught:
            logger.info("a stopped generation is still within a prompt or a load; it ends later")

    def _work(self) -> None:
        end: Exception | None = None
        try:
            self._generate()
        except Exception as error:  # noqa: BLE001  raised where the reply is read
            end = error
        self._put(end)

    def _generate(self) -> None:
        reply = Reply()
        failures: list[Exception] = []

        def report(data: bytes) -> bool:
            # The engine swallows what is raised here.
            try:
                return self._stop.is_set() or not all(map(self._put, reply.feed(data)))
            except Exception as error:  # noqa: BLE001
                failures.append(error)
                return True

        self._check_stop()
        server = self._model.server()
        try:
            server.handle_chat_completions(self._body, report)
        except RuntimeError as error:
            raise reply.raised(error) from error
        if failures:
            raise failures[0]
        self._check_stop()
        for chunk in reply.finish():
            self._put(chunk)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise BackendError("the model was closed within a reply", code="closed")

    def _put(self, item: FlowStreamChunk | Exception | None) -> bool:
        try:
            self._handoff.put(item)
        except RuntimeError:
            # The event loop is gone, and the reader with it.
            self._stop.set()
        return not self._stop.is_set()
