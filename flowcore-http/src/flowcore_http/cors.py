"""Which pages of other origins may read an answer, said in its headers.

Source: WHATWG Fetch, section 3.3, "CORS protocol".
"""

from __future__ import annotations

from flowcore_http.exchange import Exchange, Header
from flowcore_http.settings import CorsSettings

_METHODS = b"GET, HEAD, OPTIONS, POST"
_EXPOSED = b"Retry-After, X-Run-Id"


class Cors:
    """The headers of answers, and the answers to preflights.

    Args:
        settings: Which origins may send and read what.
    """

    def __init__(self, settings: CorsSettings) -> None:
        self._origins = frozenset(origin.encode() for origin in settings.allow_origin)
        self._any = b"*" in self._origins
        self._sendable = {name.lower(): name for name in settings.allow_headers}
        self._max_age = b"%d" % settings.max_age
        # Answers differ by origin, so caches have to keep them apart; also those to no origin.
        self._for_strangers: list[Header] = [] if self._any else [(b"vary", b"Origin")]
        self._for_friends: list[Header] = [
            *self._for_strangers,
            (b"access-control-expose-headers", _EXPOSED),
        ]
        if settings.allow_credentials:
            self._for_friends.append((b"access-control-allow-credentials", b"true"))

    def headers(self, exchange: Exchange) -> list[Header]:
        """Return the headers of every answer to this request."""
        if self._any:
            # The same for all, so that an answer in a cache fits all.
            return [*self._for_friends, (b"access-control-allow-origin", b"*")]
        origin = exchange.fields.get(b"origin")
        if origin in self._origins and len(exchange.field_values(b"origin")) == 1:
            return [*self._for_friends, (b"access-control-allow-origin", origin)]
        return self._for_strangers

    def preflight(self, exchange: Exchange) -> list[Header] | None:
        """Return the further headers that answer a preflight, or None if the request is none."""
        if exchange.method != "OPTIONS" or b"access-control-request-method" not in exchange.fields:
            return None
        if len(exchange.field_values(b"origin")) != 1:
            return []
        if not self._any and exchange.fields[b"origin"] not in self._origins:
            return []
        asked = exchange.field(b"access-control-request-headers").split(",")
        names = [self._sendable.get(name.strip().lower()) for name in asked]
        headers = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", self._max_age),
        ]
        if allowed := ", ".join(name for name in names if name):
            headers.append((b"access-control-allow-headers", allowed.encode()))
        return headers
