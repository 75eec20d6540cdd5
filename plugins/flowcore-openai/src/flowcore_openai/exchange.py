"""One request and its answer, read piece by piece under deadlines."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import httpcore2
import httpx2
import openai

from flowcore import BackendError
from flowcore_openai.alarm import Alarm, alarm
from flowcore_openai.failures import Failures
from flowcore_openai.network import BodyStream
from flowcore_openai.patience import Patience

T = TypeVar("T")

_DRAIN_SECONDS = 0.25
_CLOSE_SECONDS = 2.0

_CODES: dict[type[Exception], tuple[str, str]] = {
    httpx2.PoolTimeout: (
        "upstream_busy",
        "all max_connections are in use; raise it, or let fewer run (max_concurrent_runs)",
    ),
    httpx2.ConnectTimeout: (
        "upstream_timeout_connect",
        "no connection within connect_timeout; check base_url and the network",
    ),
    httpx2.ConnectError: (
        "upstream_unreachable",
        "cannot connect; check base_url, and that the server runs",
    ),
    httpx2.ProxyError: ("upstream_unreachable", "the proxy refused"),
    httpx2.LocalProtocolError: ("upstream_rejected", "the request cannot be sent"),
    httpx2.DecodingError: ("upstream_invalid", "the answer cannot be decompressed"),
}
_FAILURES = (
    openai.OpenAIError,
    httpx2.RequestError,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
)
_TIMEOUTS = {
    "upstream_timeout_first_token": (
        "no content within first_token_timeout; raise it if that is too short"
    ),
    "upstream_timeout_idle": "no data within idle_timeout; raise it if that is too short",
    "upstream_timeout_total": "not finished within total_timeout; raise it if that is too short",
}


class Exchange:
    """A request that is sent when entered and whose answer is closed when left.

    No cancel scope stays open between two calls, so a generator may yield inside the block.

    Args:
        send: Makes the SDK's response manager.
        failures: Tells what goes wrong.
        patience: The deadlines.
    """

    def __init__(
        self,
        send: Callable[[], AbstractAsyncContextManager[Any]],
        failures: Failures,
        patience: Patience,
    ) -> None:
        self._send = send
        self._failures = failures
        self._patience = patience
        self._response: httpx2.Response
        self._body: AsyncGenerator[bytes, None]
        self._stream: BodyStream | None = None
        self._alarm: Alarm | None = None
        self._now = anyio.current_time

    @property
    def media_type(self) -> str:
        """Content type of the answer in lower case and without parameters; empty if it has none."""
        content_type: str = self._response.headers.get("content-type", "")
        return content_type.partition(";")[0].strip().lower()

    async def __aenter__(self) -> Self:
        manager = self._send()
        response = await self._timed(manager.__aenter__)
        self._response = response.http_response
        self._body = self._response.aiter_bytes()
        stream = self._response.extensions.get("network_stream")
        if isinstance(stream, BodyStream) and self._is_plain() and stream.take_body():
            self._stream = stream
        self._alarm = alarm()
        if self._alarm is not None:
            self._now = self._alarm.now
        return self

    async def read(self) -> bytes | None:
        """Return the next piece of the body, or None at its end.

        Raises:
            BackendError: If the connection breaks or a deadline passes.
        """
        return await self._timed(self._next)

    async def drain(self) -> None:
        """Read a body that says no more to its end, so that its connection serves again."""
        with anyio.move_on_after(_DRAIN_SECONDS), contextlib.suppress(*_FAILURES):
            while await self._next() is not None:
                pass

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._alarm is not None:
            self._alarm.stop()
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._body.aclose()
            await self._response.aclose()

    def _is_plain(self) -> bool:
        response, headers = self._response, self._response.headers
        return (
            response.status_code == 200  # others may have no body, whatever their headers say
            and headers.get("transfer-encoding") == "chunked"
            and "content-encoding" not in headers
        )

    async def _next(self) -> bytes | None:
        if self._stream is not None:
            if data := await self._stream.read_body():
                return data
            self._stream = None
        return await anext(self._body, None)

    async def _timed(self, step: Callable[[], Awaitable[T]]) -> T:
        began = self._now()
        deadline, timeout = self._patience.limit(began)
        failure: BackendError | None = None
        with self._limited(deadline) as scope:
            try:
                result = await step()
            except _FAILURES as exc:
                # Raised below, not here: the SDK's exceptions hold the request with its key.
                failure = self._failure(exc)
            else:
                self._patience.waited(self._now() - began)
                return result
        if failure is None and scope.cancelled_caught:
            failure = self._failures.error(timeout, _TIMEOUTS[timeout])
        assert failure is not None  # noqa: S101
        raise failure

    def _limited(self, deadline: float) -> anyio.CancelScope:
        if self._alarm is None:
            return anyio.CancelScope(deadline=deadline)
        scope = anyio.CancelScope()
        self._alarm.watch(scope, deadline)
        return scope

    def _failure(self, exc: Exception) -> BackendError:
        if isinstance(exc, openai.APIConnectionError) and isinstance(exc.__cause__, Exception):
            exc = exc.__cause__
        if isinstance(exc, BackendError):
            return exc.with_traceback(None)
        for kind, (code, what) in _CODES.items():
            if isinstance(exc, kind):
                return self._failures.error(code, what, detail=str(exc))
        return self._failures.error(
            "upstream_reset", "the connection broke", detail=str(exc) or type(exc).__name__
        )
