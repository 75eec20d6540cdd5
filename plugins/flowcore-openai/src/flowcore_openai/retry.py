"""When a failed attempt is repeated, and after how long."""

from __future__ import annotations

import email.utils
import logging
import math
import random
import time
from collections.abc import Mapping

import anyio

from flowcore import BackendError
from flowcore_openai.settings import EndpointSettings

logger = logging.getLogger("flowcore_openai")

RETRIED_CODES = frozenset({"upstream_unreachable", "upstream_timeout_connect", "upstream_reset"})
RETRIED_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})
MAX_BACKOFF = 8.0


async def wait_to_retry(
    settings: EndpointSettings, failure: BackendError, attempt: int, give_up_at: float
) -> None:
    """Wait until it is time for the next attempt.

    Args:
        settings: The retry policy.
        failure: How the last attempt failed.
        attempt: Its number, counted from 1.
        give_up_at: End of the total timeout, on the clock of the event loop.

    Raises:
        BackendError: The failure, if there is to be no further attempt.
    """
    if attempt > settings.max_retries or not (
        failure.code in RETRIED_CODES or failure.status in RETRIED_STATUSES
    ):
        raise failure
    delay = failure.retry_after
    if delay is None:
        ceiling = min(MAX_BACKOFF, settings.retry_backoff * 2 ** (attempt - 1))
        delay = ceiling * random.uniform(0.5, 1)  # noqa: S311
    elif delay > settings.max_retry_after:
        raise BackendError(
            f"{failure} (asked to wait {delay:g} s, longer than max_retry_after "
            f"of {settings.max_retry_after:g} s)",
            code=failure.code,
            status=failure.status,
            retry_after=delay,
        )
    if anyio.current_time() + delay >= give_up_at:
        raise failure
    logger.warning("%s; retry %d of %d in %.2f s", failure, attempt, settings.max_retries, delay)
    await anyio.sleep(delay)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait, or None if it says nothing sensible.

    Source: RFC 9110, section 10.2.3; ``retry-after-ms`` is an addition of some providers.
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _seconds(value)
    if seconds is not None or value is None:
        return seconds
    try:
        wait = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return wait if wait >= 0 else None


def _seconds(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
