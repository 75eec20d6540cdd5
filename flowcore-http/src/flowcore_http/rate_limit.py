"""How often a client may ask.

This module loads the library `limits`, so it is imported only where a limit is set.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict, deque
from typing import cast
from urllib.parse import unquote, urlsplit

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import ConfigurationError
from limits.storage import storage_from_string

from flowcore_http.problem import HttpProblem

logger = logging.getLogger("flowcore.http")

_MAX_ENTRIES = 1_000_000
_MAX_CLIENTS = 100_000
_YEAR = 366 * 86_400

_STORAGE_SECONDS = 1.0
"""How long a request may wait for the shared storage."""

_PAUSE_SECONDS = 5.0
"""How long a shared storage that failed is not asked again."""


class RateLimit:
    """Lets each client ask a number of times in a span of time that moves with the clock.

    While a shared storage is down or slow, this process counts by itself.

    Args:
        rate: The limit, as :func:`parse_rate` takes it.
        storage: URL of a storage that several processes share, or None.

    Raises:
        ValueError: If the rate or the storage is wrong.
    """

    def __init__(self, rate: str, storage: str | None = None) -> None:
        self._text = rate
        self._rate = parse_rate(rate)
        self._local = MovingWindowRateLimiter(Windows())
        self._shared = None if storage is None else MovingWindowRateLimiter(open_storage(storage))
        self._password = (storage and urlsplit(storage).password) or ""
        self._failed_at: float | None = None

    async def check(self, client: str) -> None:
        """Count a request.

        Args:
            client: Who asks.

        Raises:
            HttpProblem: 429 if that is too often; the request is not counted then.
        """
        wait = await (
            self._hit(self._local, client)
            if self._shared is None
            else self._hit_shared(self._shared, client)
        )
        if wait is not None:
            seconds = max(1, math.ceil(wait))
            detail = f"The limit is {self._text}; try again in {seconds} s."
            raise HttpProblem(429, "rate_limited", detail, {"Retry-After": str(seconds)})

    async def _hit(self, limiter: MovingWindowRateLimiter, client: str) -> float | None:
        """Count a request, or return for how many seconds none is allowed."""
        if await limiter.hit(self._rate, client):
            return None
        return (await limiter.get_window_stats(self._rate, client)).reset_time - time.time()

    async def _hit_shared(self, limiter: MovingWindowRateLimiter, client: str) -> float | None:
        failed = self._failed_at
        if failed is not None and time.monotonic() < failed + _PAUSE_SECONDS:
            return await self._hit(self._local, client)
        try:
            async with asyncio.timeout(_STORAGE_SECONDS):
                wait = await self._hit(limiter, client)
        # Drivers raise what they like.
        except Exception as error:  # noqa: BLE001
            if failed is None:
                text = "http.rate_limit_storage fails, so each process counts by itself: %s"
                logger.warning(text, self._told(error))
            self._failed_at = time.monotonic()
            return await self._hit(self._local, client)
        if failed is not None:
            logger.warning("http.rate_limit_storage works again")
            self._failed_at = None
        return wait

    def _told(self, error: Exception) -> str:
        text = f"{type(error).__name__}: {error}"
        for secret in filter(None, (self._password, unquote(self._password))):
            text = text.replace(secret, "…")
        return text


def parse_rate(text: str) -> RateLimitItem:
    """Return the rate that ``text`` is, such as ``60/minute`` or ``5 per 10 seconds``.

    Raises:
        ValueError: If it is none, or beyond a million requests or a year.
    """
    try:
        rates = parse_many(text)
    except ValueError:
        rates = []
    if len(rates) != 1:
        raise ValueError(f"{text[:100]!r} is not a rate; write one such as '60/minute'")
    if not (1 <= rates[0].amount <= _MAX_ENTRIES and rates[0].get_expiry() <= _YEAR):
        raise ValueError(f"a rate is from 1 to {_MAX_ENTRIES} requests in a year at most")
    return rates[0]


def open_storage(url: str) -> Storage:
    """Return the storage at ``url``, such as ``redis://127.0.0.1:6379``; nothing is connected yet.

    Raises:
        ValueError: If `limits` has no such storage, or its driver is not installed.
    """
    # Of errors, only that of a missing driver is told: the others may hold the password.
    try:
        urlsplit(url)
        storage = storage_from_string(f"async+{url.removeprefix('async+')}")
    except ConfigurationError as error:
        if str(error).startswith("unknown storage scheme"):
            raise ValueError("limits knows no storage with this scheme") from None
        hint = "limits[async-redis] and its like install the driver that fits"
        raise ValueError(f"{error} {hint}") from None
    except Exception as error:  # noqa: BLE001
        raise ValueError(f"the URL cannot be used ({type(error).__name__})") from None
    return cast("Storage", storage)


class Windows(MemoryStorage):
    """The moving windows of this process's clients.

    Unlike those of the base class, they do not mind when the clock of the machine is set, the
    work for a request does not grow with the number of clients, and the memory is bounded: when
    it is full, the client that has been silent for longest is forgotten.
    """

    STORAGE_SCHEME = None

    def __init__(self) -> None:
        super().__init__()
        self.clients: OrderedDict[str, deque[float]] = OrderedDict()
        self._count = 0

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count a request, or return False if the window of ``expiry`` seconds is full."""
        now = time.monotonic()
        window = self.clients.setdefault(key, deque())
        self.clients.move_to_end(key)
        while window and window[0] <= now - expiry:
            window.popleft()
            self._count -= 1
        allowed = len(window) + amount <= limit
        if allowed:
            window.extend([now] * amount)
            self._count += amount
        self._forget(now - expiry)
        return allowed

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the oldest entry was made, by the machine's clock, and their number."""
        del limit, expiry
        window = self.clients.get(key)
        if not window:
            return time.time(), 0
        return time.time() - (time.monotonic() - window[0]), len(window)

    def _forget(self, before: float) -> None:
        """Drop up to two clients from whom nothing came since, or of whom there are too many."""
        for _ in range(2):
            oldest = next(iter(self.clients.values()))
            full = self._count > _MAX_ENTRIES or len(self.clients) > _MAX_CLIENTS
            if oldest and oldest[-1] > before and not full:
                return
            if len(self.clients) == 1:
                return
            self._count -= len(self.clients.popitem(last=False)[1])
