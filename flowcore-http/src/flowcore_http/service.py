"""The service ``http``, as the configuration names it; the server itself loads when it starts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from flowcore import BaseService, ConfigError, FlowApp, Handover
from flowcore_http.listener import check_host
from flowcore_http.servers import check_server
from flowcore_http.settings import HttpSettings
from flowcore_http.workers import check_workers, run_workers

if TYPE_CHECKING:
    from flowcore_http.client import HttpClient

RESERVED = frozenset(
    {"docs", "health", "mcp", "metrics", "openapi.json", "playground", "ready", "runs", "v1"}
)
"""Flow names that would clash with endpoints of the service, present or to come."""


class HttpService(BaseService):
    """Serves the flows of an app over HTTP until it is told to stop.

    The first SIGINT or SIGTERM lets running requests finish for ``drain_timeout`` seconds while
    new ones get 503; then the rest fails with the code ``shutting_down``. The second signal
    cancels all at once. The process is taken to be the service's own: after a signal it ends, even
    if a sync op hangs in its thread.

    Args:
        settings: The config section ``http``.
    """

    Settings = HttpSettings
    settings: HttpSettings
    # On Windows, two processes cannot accept the connections of one socket.
    overlaps = sys.platform != "win32"

    def check(self, app: FlowApp) -> None:
        """Check the names of the flows, the host, the certificate, the keys and the limits.

        Raises:
            ConfigError: If a flow has the name of an endpoint of the service, or one of the
                settings cannot be used.
        """
        from flowcore_http.admission import Admission  # noqa: PLC0415 - loads the server
        from flowcore_http.tls import tls_context  # noqa: PLC0415

        check_names(app)
        Admission(app, self.settings)
        check_host(self.settings, app.config.origins.find(("http", "host")))
        tls_context(self.settings)
        check_server(self.settings, app.config.origins.find(("http", "server")))
        check_workers(app, self.settings)

    def run(self, app: FlowApp) -> None:
        """Open ``app`` and serve it.

        Raises:
            ConfigError: If the address cannot be listened at, a certificate cannot be read, or
                a flow's name is reserved.
            SystemExit: With code 130 after a second signal.
        """
        check_names(app)  # before another program at the address hides what is wrong here
        if self.settings.workers > 1:
            run_workers(app, self.settings)
            return
        from flowcore_http.serving import run_until_stopped  # noqa: PLC0415 - loads the server

        run_until_stopped(app, self.settings)

    def run_in_turn(self, app: FlowApp, handover: Handover) -> None:
        """Open ``app`` and serve it, on the socket of the process before.

        Raises:
            ConfigError: As for :meth:`run`, and if there are to be several processes.
        """
        from flowcore_http.turn import run_in_turn  # noqa: PLC0415 - loads the server

        run_in_turn(app, self.settings, handover)

    @classmethod
    def connect(cls, url: str, api_key: str | None = None) -> HttpClient:
        """Return a client for a server at ``url`` that presents ``api_key``."""
        from flowcore_http.client import HttpClient  # noqa: PLC0415 - loads httpx

        return HttpClient(url, api_key=api_key)


def check_names(app: FlowApp) -> None:
    """Check that no flow has the name of an endpoint.

    Raises:
        ConfigError: If one has.
    """
    for name in app.flows:
        if name in RESERVED:
            raise ConfigError(
                f"flow {name!r} cannot be served over HTTP: /{name} is reserved for the service "
                "itself; give the flow another name",
                app.config.origins.find(("flow", name)),
            )
