"""What the clients share and what needs no I/O: errors, answers, and events turned into chunks."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import quote

import httpx
from pydantic import ValidationError
from pydantic_core import to_json

from flowcore import FlowcoreError, FlowResponse
from flowcore.sse import SSEDecoder


class HttpError(FlowcoreError):
    """The service cannot be reached, refuses a request, or answers with something else.

    Args:
        message: What went wrong, with the address.
        status: HTTP status, or None if there was no answer.
        problem: The members of the problem object, where the service sent one.
    """

    code = "http_error"

    def __init__(
        self, message: str, *, status: int | None = None, problem: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}


class StreamCutError(HttpError):
    """A stream ended before its end mark: what came is true, but not all of it came."""

    code = "stream_cut"


class StreamGapError(HttpError):
    """A stream was resumed too late: the service no longer keeps what comes next.

    Args:
        message: What is missing.
    """

    code = "stream_gap"


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
            chunk = self._parse(event.data)
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
        return random.uniform(0.5, 1) * min(_FIRST_DELAY * 2**self._failures, _LONGEST_DELAY)  # noqa: S311

    def resume_request(self) -> dict[str, Any]:
        """Return the arguments of an httpx request for the rest of the stream."""
        self._resumed = True
        return resume_request(self._event_id)

    def _parse(self, data: str) -> dict[str, Any]:
        parsed: dict[str, Any] = {}
        try:
            chunk = json.loads(data)
            parsed = {
                "type": chunk["chunk_type"],
                "content": chunk["chunk"],
                "metadata": chunk.get("metadata") or {},
                "flow_id": chunk.get("flow_id", ""),
            }
        except (ValueError, LookupError, TypeError, AttributeError):
            parsed.clear()
        if not all(isinstance(parsed.get(key), kind) for key, kind in _MEMBERS.items()):
            raise HttpError(
                f"flow {self._flow!r} sent an event that is not a chunk: {data[:200]!r}", status=200
            )
        return parsed


_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0
_PASSING = {None, 429, 502, 503, 504}


def _is_end_of_cut_run(chunk: dict[str, Any]) -> bool:
    about = chunk["metadata"]
    reasons = {"client", "write_timeout"}
    return (
        chunk["type"] == "error"
        and about.get("code") == "cancelled"
        and about.get("reason") in reasons
    )


def check_url(base_url: str) -> httpx.URL:
    """Return the address of a service as httpx takes it.

    Raises:
        HttpError: If it is not a URL.
    """
    try:
        url = httpx.URL(base_url)
        error = "" if 0 < (url.port or 80) < 65536 else "the port is out of range"
    except (httpx.InvalidURL, ValueError) as invalid:
        url, error = httpx.URL(), str(invalid)
    if error:
        base_url = re.sub(r"//[^/@]*@", "//", base_url)  # a password is nobody's business
        raise HttpError(f"{base_url!r} is not a URL such as http://127.0.0.1:8002: {error}")
    return url


def key_header(api_key: str | None) -> dict[str, str]:
    """Return the header that presents a key, if there is one.

    Raises:
        HttpError: If no header can hold it, such as one with the end of a line.
    """
    if api_key is None:
        return {}
    if not re.fullmatch(r"[!-~]+", api_key):
        # What httpx says of it would hold the key.
        raise HttpError("the key is empty or has characters other than visible ASCII")
    return {"Authorization": f"Bearer {api_key}"}


def shown(url: httpx.URL) -> str:
    """Return a URL for messages, without the password that it may hold."""
    return str(url.copy_with(userinfo=b""))


def stream_timeout(idle: float) -> httpx.Timeout:
    """Return the timeouts of a stream: only silence ends it."""
    return httpx.Timeout(None, connect=5.0, read=idle, write=idle, pool=idle)


def flow_request(flow: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an httpx request that runs a flow.

    Raises:
        pydantic_core.PydanticSerializationError: If an input has no JSON form.
    """
    return {
        "method": "POST",
        "url": f"/{quote(flow, safe='')}",
        "content": to_json(inputs),
        "headers": {"Content-Type": "application/json"},
    }


def resume_request(event_id: str) -> dict[str, Any]:
    """Return the arguments of an httpx request for what comes after an event."""
    run_id = event_id.rpartition("-")[0]
    return {
        "method": "GET",
        "url": f"{run_path(run_id)}/events",
        "headers": {"Last-Event-ID": event_id},
    }


def run_path(run_id: str) -> str:
    """Return the path of a run."""
    return f"/runs/{quote(run_id, safe='')}"


def connection_error(
    error: httpx.TransportError, url: httpx.URL, *, answered: bool = False
) -> HttpError:
    """Return the error that tells of a failed connection.

    Args:
        error: What httpx raised.
        url: The address.
        answered: Whether a stream had begun.
    """
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.ReadTimeout):
        reason = "silent for too long"
    if answered:
        return StreamCutError(f"the stream from {shown(url)} was cut: {reason}", status=200)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        return HttpError(f"cannot reach {shown(url)}: {reason}")
    return HttpError(f"no answer from {shown(url)}: {reason}")


def check_stream(response: httpx.Response) -> None:
    """Raise :class:`HttpError` unless the response is an event stream.

    The body of a response that is not a success has been read.
    """
    raise_for_status(response)
    if response.status_code == 204:
        return
    if response.headers.get("Content-Type", "").split(";")[0].strip() != "text/event-stream":
        raise HttpError(
            f"{shown(response.request.url)} does not answer with a stream; call execute_flow",
            status=response.status_code,
        )


def raise_for_status(response: httpx.Response) -> None:
    """Raise :class:`HttpError` unless the response, which has been read, is a success."""
    if response.is_success:
        return
    problem: dict[str, Any] = {}
    try:
        parsed = response.json()
    except ValueError:
        parsed = None
    if isinstance(parsed, dict):
        problem = cast("dict[str, Any]", parsed)
    detail = problem.get("detail") or response.text[:200]
    raise HttpError(
        f"{response.request.method} {shown(response.request.url)} answered {response.status_code}: "
        f"{detail}",
        status=response.status_code,
        problem=problem,
    )


def parse_json(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of a response.

    Raises:
        HttpError: If it holds none.
    """
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise HttpError(
            f"{shown(response.request.url)} did not answer with a JSON object",
            status=response.status_code,
        )
    return cast("dict[str, Any]", value)


def parse_response(response: httpx.Response) -> FlowResponse:
    """Return the answer of a flow.

    Raises:
        HttpError: If the flow is a streamed one, or the response is not an answer.
    """
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/event-stream"):
        raise HttpError(
            f"{shown(response.request.url)} is a streamed flow; call execute_stream_flow",
            status=response.status_code,
        )
    try:
        return FlowResponse.model_validate(parse_json(response))
    except ValidationError as error:
        raise HttpError(
            f"{shown(response.request.url)} did not answer as a flow does: {error}",
            status=response.status_code,
        ) from None
