"""The event stream of a flow as a client sees it, also over several connections."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import httpx

from flowcore.sse import SSEDecoder, SSEEvent
from flowcore_http.errors import HttpError, StreamCutError, StreamGapError
from flowcore_http.protocol import resume_request

_MEMBERS: dict[str, tuple[type, ...]] = {
    "type": (str,),
    "content": (str, dict, list),
    "metadata": (dict,),
    "flow_id": (str,),
}


class EventStream:
    """Turns the bytes of a flow's event stream into chunks, also over several connections.

    Args:
        flow: Name of the flow, for messages.
        reconnects: How often in a row a new connection may be tried without getting an event.
        event_id: The last event of which is known already, if the stream is resumed.

    Attributes:
        ended: Whether the end mark has come.
    """

    def __init__(self, flow: str, reconnects: int = 0, event_id: str = "") -> None:
        self.ended = False
        self._flow = flow
        self._reconnects = reconnects
        self._failures = 0
        self._resumed = False
        self._lost = False
        self._event_id = event_id
        self._decoder = SSEDecoder()

    def open(self, response: httpx.Response) -> None:
        """Begin with a connection; what was left incomplete by the one before is dropped."""
        self._decoder = SSEDecoder()
        run_id = response.headers.get("X-Run-Id")
        if response.status_code == 204:
            self.ended = True
        elif run_id and not self._event_id:
            self._event_id = f"{run_id}-0"

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the chunks that ``data`` completes; after the end mark there are none.

        Raises:
            HttpError: If an event is not a chunk.
            StreamCutError: If the service says that it cancelled the run when the stream was cut.
            StreamGapError: If events are missing.
        """
        for event in self._decoder.feed(data):
            if self.ended:
                return
            if event.event == "gap":
                raise StreamGapError(
                    f"the stream of flow {self._flow!r} was resumed too late: {event.data}"
                )
            self._failures = 0
            if event.data == "[DONE]":
                self.ended = True
                return
            chunk = self._parse(event)
            if self._resumed and _is_end_of_cut_run(chunk):
                self._lost = True
                raise StreamCutError(
                    f"the stream of flow {self._flow!r} was cut, and its run was cancelled: "
                    f"{chunk['content']}; `on_disconnect` of a flow can give it time",
                    status=200,
                )
            self._event_id = event.id
            yield {**chunk, "event_id": event.id}

    def close(self) -> None:
        """Tell that no more bytes will come over this connection.

        Raises:
            StreamCutError: If the end mark has not come.
        """
        if not self.ended:
            raise StreamCutError(
                f"the stream of flow {self._flow!r} ended without [DONE]; it was cut", status=200
            )

    def delay(self, error: HttpError) -> float:
        """Return how many seconds to wait before a new connection.

        Raises:
            HttpError: The error, where there is no sense in a new connection, or no hope.
        """
        if self._lost or not self._event_id or isinstance(error, StreamGapError):
            raise error
        passing = isinstance(error, StreamCutError) or error.status in _PASSING
        if not passing or self._failures >= self._reconnects:
            if isinstance(error, StreamCutError):
                raise error
            raise StreamCutError(
                f"the stream of flow {self._flow!r} was cut and cannot be resumed: {error}",
                status=error.status,
                problem=error.problem,
            ) from error
        self._failures += 1
        delay = random.uniform(0.5, 1) * min(_FIRST_DELAY * 2**self._failures, _LONGEST_DELAY)  # noqa: S311
        return max(delay, min(error.retry_after, _LONGEST_RETRY_AFTER))

    def resume_request(self) -> dict[str, Any]:
        """Return the arguments of an httpx request for the rest of the stream."""
        self._resumed = True
        return resume_request(self._event_id)

    def _parse(self, event: SSEEvent) -> dict[str, Any]:
        parsed: dict[str, Any] = {}
        try:
            chunk = json.loads(event.data)
            if event.event == "op":  # as if it were a chunk, for those who asked for a trace
                run_id = event.id.partition("-")[0]
                chunk = {"flow_id": run_id, "chunk_type": "op", "chunk": chunk}
            parsed = {
                "type": chunk["chunk_type"],
                "content": chunk["chunk"],
                "metadata": chunk.get("metadata") or {},
                "flow_id": chunk.get("flow_id", ""),
            }
        except (ValueError, LookupError, TypeError, AttributeError):
            parsed.clear()
        if not all(isinstance(parsed.get(key), kind) for key, kind in _MEMBERS.items()):
            self._lost = True
            raise HttpError(
                f"flow {self._flow!r} sent an event that is not a chunk: {event.data[:200]!r}",
                status=200,
            )
        return parsed


_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0
_LONGEST_RETRY_AFTER = 30.0
_PASSING = {None, 429, 502, 503, 504}


def _is_end_of_cut_run(chunk: dict[str, Any]) -> bool:
    about = chunk["metadata"]
    reasons = {"client", "write_timeout"}
    return (
        chunk["type"] == "error"
        and about.get("code") == "cancelled"
        and about.get("reason") in reasons
    )
