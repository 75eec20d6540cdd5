"""Which heads of requests are refused before the app sees them, beyond those that parsers refuse.

Sources: RFC 9112, "HTTP/1.1", and RFC 9110, "HTTP Semantics".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Protocol

from flowcore_http.problem import HttpProblem

MAX_HEAD_BYTES = 16 * 1024
"""Largest request line and header fields together."""

MAX_FIELDS = 100
"""Most header fields."""

MAX_TARGET_BYTES = 8 * 1024
"""Longest path with its query."""

MAX_PIPELINED_BYTES = 64 * 1024
"""How much a client may send ahead of the answer that it waits for."""


class Head(Protocol):
    """The head of a request."""

    @property
    def method(self) -> bytes:
        """The method, as it was written."""
        ...

    @property
    def target(self) -> bytes:
        """The path with its query, as a rule."""
        ...

    @property
    def http_version(self) -> bytes:
        """Such as ``1.1``."""
        ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The fields, their names in small letters."""
        ...


def fault_of_head(head: Head) -> HttpProblem | None:
    """Return what is wrong with a request that h11 takes, or None."""
    return fault_of_line(head) or fault_of_fields(head)


def fault_of_whole(head: Head) -> HttpProblem | None:
    """Return what is wrong with a request that httptools takes, or None."""
    return fault_of_head(head) or _fault_of_host_or_coding(head)


def fault_of_lines(received: bytes) -> HttpProblem | None:
    """Return what is wrong with the lines of a head, of which a part has come at least, or None.

    h11 takes a lone LF for the end of a line, and a line that begins with a space for a part of
    the one before. Proxies differ in that, so both could hide a request from one of two readers.
    """
    head = received.partition(b"\r\n\r\n")[0]
    is_odd = head.count(b"\n") != head.count(b"\r\n") or b"\r\n " in head or b"\r\n\t" in head
    if not is_odd:
        return None
    detail = "Each line of a head ends with CRLF, and none begins with a space."
    return HttpProblem(400, "bad_request", detail)


def fault_of_parse(error: Exception) -> HttpProblem:
    """Return the problem of a head whose lines are right and whose fields a parser refuses.

    It is told in the same words whichever parser that was.

    Args:
        error: What the parser said.
    """
    said = str(error).partition(": bytearray")[0]  # h11 quotes what it read
    if "Host:" in said:
        return bad_host()
    if "Transfer-Encoding" in said:
        return _two_framings() if "Content-Length" in said else _not_only_chunked()
    if "Content-Length" in said:
        return malformed("its Content-Length is not one whole number")
    return malformed("a header field is not a name, a colon and a value")


def bad_host() -> HttpProblem:
    """Return the problem of a request that does not say for which host it is, or not clearly."""
    detail = "Send exactly one header Host, such as Host: example.com."
    return HttpProblem(400, "bad_host", detail, {"Connection": "close"})


def malformed(reason: str) -> HttpProblem:
    """Return the problem of a request that is none."""
    return HttpProblem(400, "bad_request", f"The request is malformed: {reason}.")


def fault_of_size(received: bytes) -> HttpProblem:
    """Return the problem that tells what is too long in a head that has not ended."""
    if b"\n" not in received:
        return _uri_too_long()
    return headers_too_large(f"The header fields have more than {MAX_HEAD_BYTES} bytes.")


def fault_of_line(head: Head) -> HttpProblem | None:
    """Return what is wrong with the request line, or None."""
    if head.http_version not in {b"1.0", b"1.1"}:
        return HttpProblem(505, "http_version_not_supported", "Use HTTP/1.1.")
    if len(head.target) > MAX_TARGET_BYTES:
        return _uri_too_long()
    if head.method != head.method.upper():
        # They are case-sensitive, but not everybody behind this is aware of that.
        return HttpProblem(501, "not_implemented", "Write the method in capital letters.")
    if head.method == b"CONNECT":
        headers = {"Allow": "GET, HEAD, OPTIONS, POST"}
        detail = "This service is not a proxy."
        return HttpProblem(405, "method_not_allowed", detail, headers)
    if not head.target.startswith(b"/"):
        detail = "The request target is not a path that begins with a slash."
        return HttpProblem(400, "bad_request", detail)
    return None


def fault_of_fields(head: Head) -> HttpProblem | None:
    """Return what is wrong with the header fields, or None."""
    fields = head.headers
    if len(fields) > MAX_FIELDS:
        return headers_too_large(f"There are more than {MAX_FIELDS} header fields.")
    size = len(head.target) + 4 * len(fields) + len(b"".join(chain.from_iterable(fields)))
    if size > MAX_HEAD_BYTES:
        return headers_too_large(f"The header fields have more than {MAX_HEAD_BYTES} bytes.")
    names = dict(fields)
    if b"transfer-encoding" in names:
        # Both are signs that somebody on the way may take the body for a request of its own.
        if b"content-length" in names:
            return _two_framings()
        if head.http_version == b"1.0":
            return HttpProblem(400, "bad_request", "HTTP/1.0 has no Transfer-Encoding.")
    if b"upgrade" in names:
        for name, value in fields:
            if name == b"upgrade" and b"websocket" in value.lower().replace(b",", b" ").split():
                detail = "There are no WebSockets here; use a POST request and read its events."
                return HttpProblem(403, "websocket_refused", detail)
    return None


def _fault_of_host_or_coding(head: Head) -> HttpProblem | None:
    """Return what is wrong with the host or the transfer coding, or None; h11 sees to that itself.

    Sources: RFC 9112, sections 3.2 and 6.1.
    """
    names = dict(head.headers)
    hosts = int(b"host" in names)
    if len(names) < len(head.headers):
        hosts = sum(name == b"host" for name, _ in head.headers)
    if hosts > 1 or (hosts == 0 and head.http_version == b"1.1"):
        return bad_host()
    if b"transfer-encoding" in names:
        codings = [value.lower() for name, value in head.headers if name == b"transfer-encoding"]
        if codings != [b"chunked"]:
            return _not_only_chunked()
    return None


def _two_framings() -> HttpProblem:
    detail = "Content-Length and Transfer-Encoding exclude each other."
    return HttpProblem(400, "bad_request", detail)


def _not_only_chunked() -> HttpProblem:
    detail = "Of all transfer codings, only chunked is understood, and only once."
    return HttpProblem(501, "not_implemented", detail)


def _uri_too_long() -> HttpProblem:
    detail = f"The path and its query have more than {MAX_TARGET_BYTES} bytes."
    return HttpProblem(414, "uri_too_long", detail)


def headers_too_large(detail: str) -> HttpProblem:
    """Return the problem of a request with more fields than are accepted."""
    return HttpProblem(431, "headers_too_large", detail)
