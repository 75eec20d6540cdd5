"""The requests that the clients send and the answers that they take; no I/O."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import quote

import httpx
from pydantic import ValidationError
from pydantic_core import to_json

from flowcore import FlowResponse
from flowcore_http.errors import HttpError, StreamCutError

_TRACE = {"Flowcore-Trace": "ops"}


def check_url(base_url: str) -> httpx.URL:
    """Return the address of a service as httpx takes it.

    Raises:
        HttpError: If it is not a URL.
    """
    try:
        url = httpx.URL(base_url)
        error = "" if 0 < (url.port or 80) < 65536 else "the port is out of range"
        if url.scheme not in {"http", "https"}:
            error = "it begins with neither http:// nor https://"
    except (httpx.InvalidURL, ValueError) as invalid:
        url, error = httpx.URL(), str(invalid)
    if error:
        base_url = re.sub(r"(^|//)[^/@]*@", r"\1", base_url)  # a password is nobody's business
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


def flow_request(flow: str, inputs: dict[str, Any], *, trace: bool = False) -> dict[str, Any]:
    """Return the arguments of an httpx request that runs a flow.

    Args:
        flow: Name of the flow.
        inputs: Its inputs.
        trace: Whether its stream is to tell what its ops do.

    Raises:
        pydantic_core.PydanticSerializationError: If an input has no JSON form.
    """
    return {
        "method": "POST",
        "url": f"/{quote(flow, safe='')}",
        "content": to_json(inputs),
        "headers": {"Content-Type": "application/json", **(_TRACE if trace else {})},
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
    error: httpx.RequestError, url: httpx.URL, *, answered: bool = False
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
        return HttpError(f"cannot reach {shown(url)}: {reason}; is the service running there?")
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
        retry_after=_retry_after(response.headers.get("Retry-After", "")),
    )


def _retry_after(value: str) -> float:
    """Return the seconds that ``Retry-After`` names, by number or by date; 0 if it is neither."""
    try:
        if re.fullmatch("[0-9]{1,9}", value):
            return float(value)
        date = parsedate_to_datetime(value)
        return max(0.0, (date - datetime.now(date.tzinfo)).total_seconds())
    except (ValueError, OverflowError):
        return 0.0


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
