"""The body of a request: a JSON object, of bounded size and depth."""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

from pydantic_core import from_json
from werkzeug.http import parse_options_header

from flowcore_http.exchange import Exchange
from flowcore_http.problem import HttpProblem

# A number that a double cannot hold is spelt with an exponent of two digits or 300 digits.
# To look for those only where digits begin keeps the search linear.
_MAYBE_INFINITE = re.compile(rb"\d[eE]\+?\d\d|(?<!\d)\d{300}")


async def read_object(exchange: Exchange, max_bytes: int, seconds: float) -> dict[str, Any]:
    """Return the JSON object that the request holds; of duplicate keys the last wins.

    Args:
        exchange: The request, whose body nobody has read yet.
        max_bytes: The largest body that is accepted.
        seconds: How long the client may take to send it.

    Raises:
        HttpProblem: 415 if the content type is not JSON in UTF-8; 413 if the body is too large;
            408 if it takes too long; 400 if it is not JSON; 422 if it is not an object.
    """
    _check_content_type(exchange)
    length = exchange.field(b"content-length")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    return parse_object(await read_whole(exchange, max_bytes, seconds))


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that ``body`` holds.

    NaN, infinities, numbers beyond a double, integers beyond 4,300 digits, text that is not
    UTF-8, a byte order mark and nesting deeper than 200 are refused.

    Raises:
        HttpProblem: 400 if it is not JSON; 422 if it is not an object.
    """
    if not body.strip():
        raise HttpProblem(400, "invalid_json", "The body is empty; send a JSON object, such as {}.")
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise HttpProblem(400, "invalid_json", f"The body is not valid JSON: {error}.") from None
    if _MAYBE_INFINITE.search(body) and _holds_infinity(value):
        detail = "The body is not valid JSON: a number is beyond the range of a double."
        raise HttpProblem(400, "invalid_json", detail)
    if not isinstance(value, dict):
        errors: list[Any] = [{"loc": [], "msg": "a JSON object is required", "type": "dict_type"}]
        raise HttpProblem(422, "invalid_input", "The body is not a JSON object.", errors=errors)
    return cast("dict[str, Any]", value)


def _check_content_type(exchange: Exchange) -> None:
    sent = exchange.field(b"content-type")
    if sent == "application/json":
        return
    kind, parameters = parse_options_header(sent)
    kind = kind.lower()
    charset = parameters.get("charset", "utf-8").lower()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    if not is_json or charset not in {"utf-8", "utf8"}:
        detail = "Send the header Content-Type: application/json" + (
            f" instead of {sent[:100]!r}." if sent else "."
        )
        raise HttpProblem(415, "unsupported_media_type", detail, {"Accept": "application/json"})


async def read_whole(exchange: Exchange, max_bytes: int, seconds: float) -> bytes:
    """Return the body of a request, whatever it is.

    Raises:
        HttpProblem: 413 if it is too large; 408 if it takes too long.
    """

    def too_large(size: int) -> HttpProblem | None:
        return _too_large(max_bytes) if size > max_bytes else None

    if exchange.body_is_here:
        return await exchange.read_body(too_large)
    try:
        async with asyncio.timeout(seconds):
            await exchange.ask_for_body()
            return await exchange.read_body(too_large)
    except TimeoutError:
        detail = f"The body did not arrive within {seconds:g} seconds."
        raise HttpProblem(408, "request_timeout", detail, {"Connection": "close"}) from None


def _too_large(max_bytes: int) -> HttpProblem:
    detail = f"The body is larger than {max_bytes} bytes."
    return HttpProblem(413, "body_too_large", detail, {"Connection": "close"})


def _holds_infinity(value: Any) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(cast("dict[str, Any]", item).values())
        elif isinstance(item, list):
            waiting.extend(cast("list[Any]", item))
        elif isinstance(item, float) and item in (float("inf"), -float("inf")):
            return True
    return False
