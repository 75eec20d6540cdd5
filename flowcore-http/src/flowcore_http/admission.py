"""What each request has to pass before anything of its body is read: host, key and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowcore import ConfigError, FlowApp, Run
from flowcore_http.addresses import block_of, client_address, parse_proxies
from flowcore_http.auth import PUBLIC, caller_of
from flowcore_http.exchange import Exchange
from flowcore_http.forwarded import is_forwarded
from flowcore_http.hosts import check_host
from flowcore_http.keys import load_keys
from flowcore_http.problem import HttpProblem
from flowcore_http.quota import RunQuota
from flowcore_http.settings import HttpSettings

_UNCOUNTED = PUBLIC | {
    *("cancel_run", "metrics", "run", "run_events"),
    *("playground_flows", "playground_markdown"),
}
"""Endpoints without a rate limit: who has started a run must always be able to read or stop it."""


class Admission:
    """Lets requests in, or answers them with the problem that keeps them out.

    Args:
        app: The app whose flows are served.
        settings: Settings of the service.

    Raises:
        ConfigError: If the file of keys, the rate limit or its storage is wrong.
    """

    def __init__(self, app: FlowApp, settings: HttpSettings) -> None:
        self.keys = load_keys(settings.api_keys, settings.api_keys_file)
        self._app = app
        self._hosts = settings.allowed_hosts
        self._proxies = parse_proxies(settings.trusted_proxies)
        self._quota = None
        if settings.max_runs_per_key is not None:
            self._quota = RunQuota(settings.max_runs_per_key)
        self._rate_limit = None
        if settings.rate_limit is not None:
            from flowcore_http.rate_limit import RateLimit  # noqa: PLC0415 - loads `limits`

            try:
                storage = settings.rate_limit_storage
                url = None if storage is None else storage.get_secret_value()
                self._rate_limit = RateLimit(settings.rate_limit, url)
            except ValueError as error:
                origin = app.config.origins.find(("http", "rate_limit_storage"))
                raise ConfigError(f"http.rate_limit_storage: {error}", origin) from None

    def check_host(self, exchange: Exchange) -> None:
        """Check that the request is meant for this service.

        Raises:
            HttpProblem: If it names another host.
        """
        if not is_forwarded(exchange):
            check_host(exchange, self._hosts)

    async def check(self, exchange: Exchange) -> None:
        """Check a request; ``exchange.caller`` is then the name of its key.

        Raises:
            HttpProblem: If it is malformed, bears no valid key, or comes too often.
        """
        _check_protocol(exchange)
        forwarded = is_forwarded(exchange)
        if not forwarded:
            check_host(exchange, self._hosts)
        if self.keys:
            exchange.caller = caller_of(exchange, self.keys)
        if forwarded:
            # Another process has counted it; the key tells whose runs it may see.
            return
        if self._rate_limit is not None and exchange.endpoint not in _UNCOUNTED:
            await self._rate_limit.check(self._client(exchange))
        # A request that reads on does not start a run; `start` has the last word.
        if (
            self._quota is not None
            and exchange.endpoint.startswith("flow:")
            and b"last-event-id" not in exchange.fields
        ):
            self._quota.check(self._client(exchange))

    def start(
        self, exchange: Exchange, flow: str, inputs: Mapping[str, Any], *, trace: bool = False
    ) -> Run:
        """Start a run for a request and count it as its client's.

        Raises:
            HttpProblem: 429 if the client has as many runs as it may.
            InputError: If the inputs do not fit the flow.
        """
        if self._quota is None:
            return self._app.start(flow, inputs, trace=trace)
        client = self._client(exchange)
        self._quota.check(client)
        run = self._app.start(flow, inputs, trace=trace)
        self._quota.count(client, run)
        return run

    def _client(self, exchange: Exchange) -> str:
        """Return whom a request counts for: its key, or else its address."""
        if exchange.caller:
            return f"key {exchange.caller}"
        return block_of(client_address(exchange, self._proxies))


def _check_protocol(exchange: Exchange) -> None:
    # Some server's HTTP/2 has no back-pressure: a stalled reader would fill the memory.
    if exchange.scope["http_version"].startswith("2"):
        raise HttpProblem(505, "http_version_not_supported", "Use HTTP/1.1.")
    if b"transfer-encoding" in exchange.fields and b"content-length" in exchange.fields:
        # RFC 9112, section 6.3: such a request may be an attempt at smuggling another.
        detail = "Content-Length and Transfer-Encoding exclude each other."
        raise HttpProblem(400, "bad_request", detail, {"Connection": "close"})
