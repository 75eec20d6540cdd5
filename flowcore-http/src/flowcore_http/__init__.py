"""flowcore-http: flows as HTTP endpoints with streams of Server-Sent Events, and the client."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from flowcore import BaseService, Registrar, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowcore import Finding, FlowConfig
    from flowcore_http.client import HttpClient, SyncHttpClient
    from flowcore_http.errors import HttpError, StreamCutError, StreamGapError
    from flowcore_http.server import create_app
    from flowcore_http.service import HttpService
    from flowcore_http.settings import CorsSettings, HttpSettings, ReplaySettings

__all__ = [
    "CorsSettings",
    "HttpClient",
    "HttpError",
    "HttpService",
    "HttpSettings",
    "ReplaySettings",
    "StreamCutError",
    "StreamGapError",
    "SyncHttpClient",
    "create_app",
]

# Where each public name lives. Modules load on first use: the client needs no server. There is no
# __dir__ that lists them, for pluggy loads all that dir() shows.
_HOMES = {
    "CorsSettings": "settings",
    "HttpClient": "client",
    "HttpError": "errors",
    "HttpService": "service",
    "HttpSettings": "settings",
    "ReplaySettings": "settings",
    "StreamCutError": "errors",
    "StreamGapError": "errors",
    "SyncHttpClient": "client",
    "create_app": "server",
}


@hookimpl
def flowcore_register_services(services: Registrar[BaseService]) -> None:
    """Register the service ``http``."""
    from flowcore_http.service import HttpService  # noqa: PLC0415

    services.add(HttpService, "http")


@hookimpl
def flowcore_diagnose(config: FlowConfig) -> Iterable[Finding]:
    """Tell of the address, the limits and the server."""
    from flowcore_http.diagnosis import diagnose  # noqa: PLC0415

    return diagnose(config)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flowcore_http' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"flowcore_http.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
