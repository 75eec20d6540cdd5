"""What `flowcore doctor` tells of the service: its address, its limits, and what carries it."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from flowcore import ConfigError, Finding, FlowConfig
from flowcore_http.descriptors import SPARE, most_files
from flowcore_http.extras import how_to_install
from flowcore_http.listener import is_loopback, listen
from flowcore_http.servers import check_server
from flowcore_http.settings import HttpSettings
from flowcore_http.tls import tls_context

_SECONDS = 2.0
_LISTENING = "0A"
_LIMITS = (
    ("keep_alive_timeout", "s"),
    ("body_timeout", "s"),
    ("heartbeat", "s"),
    ("write_timeout", "s"),
    ("drain_timeout", "s"),
    ("stall_warning", "s"),
    ("max_body_bytes", "bytes"),
    ("max_connections", ""),
    ("backlog", "connections"),
    ("max_runs_per_key", "runs"),
    ("workers", ""),
    ("worker_timeout", "s"),
)


def diagnose(config: FlowConfig) -> Iterator[Finding]:
    """Tell what there is to tell; nothing where another service is configured."""
    section: dict[str, object] = config.sections.get("http") or {}
    if config.backend != "http" and not section:
        return
    try:
        settings = HttpSettings.model_validate(section)
    except ValidationError:
        return  # the configuration is wrong, which flowcore says with the place
    for name, unit in _LIMITS:
        yield Finding.of_setting(config, ("http", name), getattr(settings, name), unit)
    yield from _look_at_server(settings, config)
    yield from _look_at_address(settings)
    yield from _look_at_certificate(settings)
    yield from _look_at_files(settings)


def _look_at_server(settings: HttpSettings, config: FlowConfig) -> Iterator[Finding]:
    installed = [
        f"{name} {metadata.version(name)}"
        for name in ("hypercorn", "uvicorn", "httptools", "uvloop", "gunicorn")
        if _is_installed(name)
    ]
    text = f"{settings.server}; installed: {', '.join(installed)}"
    try:
        check_server(settings, config.origins.find(("http", "server")))
    except ConfigError as error:
        advice = how_to_install(settings.server)
        yield Finding("service", "http.server", str(error), "problem", advice)
        return
    yield Finding("service", "http.server", text, "ok")


def _look_at_address(settings: HttpSettings) -> Iterator[Finding]:
    where = f"{settings.host}, port {settings.port}"
    try:
        with listen(settings) as sock:
            is_open = not is_loopback(sock)
    except ConfigError as error:
        if settings.port and _is_flowcore(settings):
            text = f"{where}: a flowcore service answers there"
            advice = "stop it before you start another one, or choose another http.port"
            yield Finding("service", "http.port", text, "warning", advice)
            return
        holder = _holder_of(settings.port)
        text = f"{error}{f' (it is held by {holder})' if holder else ''}"
        advice = "stop what listens there, or set http.port or http.host"
        yield Finding("service", "http.port", text, "problem", advice)
        return
    yield Finding("service", "http.port", f"{where}: free", "ok")
    if settings.api_keys or settings.api_keys_file:
        file = f"those of {settings.api_keys_file}" if settings.api_keys_file else ""
        count = f"{len(settings.api_keys)} present" if settings.api_keys else ""
        text = " and ".join(filter(None, (count, file)))
        yield Finding("service", "http.api_keys", text, "ok")
    elif is_open:
        text = f"{settings.host} can be reached by other machines, and no keys are set"
        advice = "set http.api_keys or http.api_keys_file, or http.host=127.0.0.1"
        yield Finding("service", "http.api_keys", text, "warning", advice)


def _look_at_certificate(settings: HttpSettings) -> Iterator[Finding]:
    try:
        if tls_context(settings) is not None:
            yield Finding("service", "http.certfile", str(settings.certfile), "ok")
    except ConfigError as error:
        advice = "see that both files are there, can be read, and belong together"
        yield Finding("service", "http.certfile", str(error), "problem", advice)


def _look_at_files(settings: HttpSettings) -> Iterator[Finding]:
    files = most_files()
    if files is None:
        yield Finding("system", "open files", "no limit", "ok")
    elif files >= settings.max_connections + SPARE:
        yield Finding("system", "open files", f"{files:,}", "ok")
    else:
        text = f"{files:,}, too few for {settings.max_connections:,} connections"
        advice = "raise the limit (ulimit -n, LimitNOFILE=), or lower http.max_connections"
        yield Finding("system", "open files", text, "warning", advice)


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _is_flowcore(settings: HttpSettings) -> bool:
    """Whether what listens at our address says that it is healthy, as only we say it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, settings.port, timeout=_SECONDS)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().read(100) == b'{"status":"healthy"}'
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _holder_of(port: int) -> str:
    """Return which process of this user listens at a port, as far as the system tells."""
    if sys.platform != "linux" or not port:
        return ""
    sockets: set[str] = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError):
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(f":{port:04X}") and fields[3] == _LISTENING:
                    sockets.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for opened in (process / "fd").iterdir():
                with suppress(OSError):
                    if os.readlink(opened) in sockets:  # noqa: PTH115 - it is no path
                        # Not its arguments, which may hold a key.
                        name = (process / "comm").read_text(encoding="utf-8").strip()
                        return f"process {process.name}, {name}"
    return ""
