"""Faults as HTTP responses: ``application/problem+json``.

Source: RFC 9457, "Problem Details for HTTP APIs".
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from quart import Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from flowcore import (
    AppClosedError,
    BackendError,
    FlowcoreError,
    InputError,
    RunCancelledError,
    UnknownNameError,
)
from flowcore_http.wire import encode_json

logger = logging.getLogger("flowcore.http")

_BACKEND_TIMEOUTS = ("timeout", "deadline")


class HttpProblem(Exception):  # noqa: N818 - the term of RFC 9457
    """A fault that is answered with an HTTP status.

    Args:
        status: HTTP status code, 400 to 599.
        code: Stable identifier of the kind of fault, for programs.
        detail: What is wrong and what to do about it, for people.
        headers: Further headers of the response.
        **members: Further members of the problem object, such as ``errors``.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def response(self) -> Response:
        """Return the response that says so."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }
        return Response(
            encode_json(body),
            status=self.status,
            headers={"X-Content-Type-Options": "nosniff", **self.headers},
            content_type="application/problem+json",
        )


def to_problem(error: Exception) -> HttpProblem:
    """Return the problem that answers an exception.

    Faults of the server are logged with their traceback under an ``error_id`` that the problem
    names; the problem itself never holds a traceback.
    """
    match error:
        case HttpProblem():
            return error
        case InputError():
            return HttpProblem(422, error.code, str(error), errors=error.errors)
        case UnknownNameError():
            return HttpProblem(404, "unknown_flow", str(error))
        case AppClosedError() | RunCancelledError():
            detail = "The service is stopping; try again later."
            return HttpProblem(503, error.code, detail, {"Retry-After": "5"})
        case BackendError():
            timed_out = any(word in error.code for word in _BACKEND_TIMEOUTS)
            return _server_fault(error, 504 if timed_out else 502, error.code)
        case HTTPException():
            return _of_werkzeug(error)
        case _:
            code = error.code if isinstance(error, FlowcoreError) else "op_failed"
            return _server_fault(error, 500, code)


def _server_fault(error: Exception, status: int, code: str) -> HttpProblem:
    error_id = secrets.token_hex(6)
    logger.error("request failed (error id %s): %s", error_id, error, exc_info=error)
    text = str(error).strip()
    if not isinstance(error, FlowcoreError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return HttpProblem(status, code, text or type(error).__name__, error_id=error_id)


def _of_werkzeug(error: HTTPException) -> HttpProblem:
    status = HTTPStatus(error.code or 500)
    headers: dict[str, str] = {}
    detail = error.description or status.description or status.phrase
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        headers["Allow"] = allowed
        detail = f"Use one of: {allowed}."
    return HttpProblem(status, status.name.lower(), detail, headers)
