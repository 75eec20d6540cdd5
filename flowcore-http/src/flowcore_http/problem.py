"""Faults as HTTP responses: ``application/problem+json``.

Source: RFC 9457, "Problem Details for HTTP APIs".
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flowcore import (
    AppBusyError,
    AppClosedError,
    BackendError,
    InputError,
    Run,
    RunState,
    RunTimeoutError,
    UnknownNameError,
)
from flowcore_http.wire import encode_json

if TYPE_CHECKING:
    from quart import Response
    from werkzeug.exceptions import HTTPException

logger = logging.getLogger("flowcore.http")

# The phrases of RFC 9110, which Python knows only from 3.13 on.
_TITLES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}


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

    def content(self) -> bytes:
        """Return the problem object as JSON."""
        members = {
            "type": "about:blank",
            "title": _TITLES.get(self.status) or HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }
        return encode_json(members).encode("ascii")

    def all_headers(self) -> dict[str, str]:
        """Return the headers of the response, without its length."""
        return {"Content-Type": "application/problem+json", **self.headers}

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return these headers as ASGI has them, with names in lower case."""
        return [(k.lower().encode(), v.encode("latin-1")) for k, v in self.all_headers().items()]

    def response(self) -> Response:
        """Return the response of Quart that says so."""
        # Quart takes long to import; who only checks settings does without.
        from quart import Response  # noqa: PLC0415

        return Response(self.content(), status=self.status, headers=self.all_headers())


def problem_of_request(error: Exception) -> HttpProblem:
    """Return the problem that answers a request whose run was never started."""
    from werkzeug.exceptions import HTTPException  # noqa: PLC0415

    match error:
        case HttpProblem():
            return error
        case InputError():
            return HttpProblem(422, error.code, str(error), errors=error.errors)
        case UnknownNameError():
            return HttpProblem(404, "unknown_flow", str(error))
        case AppClosedError():
            return stopping()
        case AppBusyError():
            detail = "As many runs as are allowed are running; try again later."
            return HttpProblem(503, error.code, detail, {"Retry-After": "1"})
        case HTTPException():
            return _of_werkzeug(error)
        case _:
            return _logged(error, 500, "internal_error", "The service failed on this request.")


def problem_of_run(run: Run) -> HttpProblem:
    """Return the problem that answers a request whose run failed or was cancelled."""
    if run.failure is None or run.cancel_reason == "shutdown":
        return stopping()
    if run.state is RunState.CANCELLED:
        return HttpProblem(409, "cancelled", str(run.failure.chunk))
    if isinstance(run.error, InputError):
        return problem_of_request(run.error)
    about = run.failure.metadata
    if about["code"] == "shutting_down":
        return stopping()
    detail, status = str(run.failure.chunk), _status_of(run.error)
    return HttpProblem(status, about["code"], detail, error_id=about["error_id"])


def _status_of(error: Exception | None) -> int:
    if isinstance(error, RunTimeoutError):
        return 504
    if not isinstance(error, BackendError):
        return 500
    if "timeout" in error.code:
        return 504
    return 503 if error.code == "upstream_busy" else 502


def stopping() -> HttpProblem:
    """Return the problem that answers requests while the service stops."""
    headers = {"Connection": "close", "Retry-After": "5"}
    return HttpProblem(503, "stopping", "The service is stopping; try again later.", headers)


def _logged(error: Exception, status: int, code: str, detail: str) -> HttpProblem:
    error_id = secrets.token_hex(6)
    text = "request failed (error id %s): %s"
    logger.error(text, error_id, error, exc_info=error, extra={"error_id": error_id})
    return HttpProblem(status, code, detail, error_id=error_id)


def _of_werkzeug(error: HTTPException) -> HttpProblem:
    from werkzeug.exceptions import MethodNotAllowed  # noqa: PLC0415

    status = HTTPStatus(error.code or 500)
    headers: dict[str, str] = {}
    detail = error.description or status.description or status.phrase
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        headers["Allow"] = allowed
        detail = f"Use one of: {allowed}."
    return HttpProblem(status, status.name.lower(), detail, headers)
