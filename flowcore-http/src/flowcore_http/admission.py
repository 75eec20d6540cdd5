"""What each request has to pass before anything of its body is read: host, key and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Quart, Response, g, request

from flowcore import ConfigError, FlowApp, Run
from flowcore_http.addresses import block_of, client_address, parse_proxies
from flowcore_http.auth import PUBLIC, caller_of
from flowcore_http.forwarded import is_forwarded
from flowcore_http.hosts import check_host
from flowcore_http.keys import load_keys
from flowcore_http.quota import RunQuota
from flowcore_http.settings import HttpSettings

_UNCOUNTED = PUBLIC | {"cancel_run", "metrics", "run", "run_events"}
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

    def guard(self, quart: Quart) -> None:
        """Have every request to ``quart`` checked; ``g.caller`` is then the name of its key."""
        quart.before_request(self._check)

    async def _check(self) -> Response | None:
        g.caller = ""
        if not is_forwarded(request):
            check_host(request, self._hosts)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            # The same for every path: what exists is told to those with a key only.
            return Response(status=204)
        if self.keys:
            g.caller = caller_of(request, self.keys)
        if is_forwarded(request):
            # Another process has counted it; the key tells whose runs it may see.
            return None
        client = self._client()
        if self._rate_limit is not None and request.endpoint not in _UNCOUNTED:
            await self._rate_limit.check(client)
        # A request that reads on does not start a run; `start` has the last word.
        if (request.endpoint or "").startswith("flow:") and "Last-Event-ID" not in request.headers:
            self._quota.check(client)
        return None

    def start(self, flow: str, inputs: Mapping[str, Any]) -> Run:
        """Start a run for the current request and count it as its client's.

        Raises:
            HttpProblem: 429 if the client has as many runs as it may.
            InputError: If the inputs do not fit the flow.
        """
        client = self._client()
        self._quota.check(client)
        run = self._app.start(flow, inputs)
        self._quota.count(client, run)
        return run

    def _client(self) -> str:
        """Return whom the current request counts for: its key, or else its address."""
        caller: str = g.caller
        return f"key {caller}" if caller else block_of(client_address(request, self._proxies))
