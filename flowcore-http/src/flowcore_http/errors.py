"""What the clients raise."""

from __future__ import annotations

from typing import Any

from flowcore import FlowcoreError


class HttpError(FlowcoreError):
    """The service cannot be reached, refuses a request, or answers with something else.

    Args:
        message: What went wrong, with the address.
        status: HTTP status, or None if there was no answer.
        problem: The members of the problem object, where the service sent one.
        retry_after: Seconds after which the service asks to try again; 0 if it does not say.
    """

    code = "http_error"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        problem: dict[str, Any] | None = None,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}
        self.retry_after = retry_after


class StreamCutError(HttpError):
    """A stream ended before its end mark: what came is true, but not all of it came."""

    code = "stream_cut"


class StreamGapError(HttpError):
    """A stream was resumed too late: the service no longer keeps what comes next.

    Args:
        message: What is missing.
    """

    code = "stream_gap"
