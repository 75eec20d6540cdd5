"""The listening socket, made by us so that its options and its faults are ours."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from ipaddress import ip_address

from flowcore import ConfigError
from flowcore_http.settings import HttpSettings

logger = logging.getLogger("flowcore.http")

_SEND_BUFFER_BYTES = 128 * 1024
"""What the kernel may hold of a stream that its client does not read."""


def listen(settings: HttpSettings) -> socket.socket:
    """Return a listening socket for the configured host and port.

    Accepted connections inherit its options: a small send buffer, no delay for small writes,
    and an end for clients that read nothing.

    Raises:
        ConfigError: If the address does not exist, is in use or is not permitted.
    """
    sock = _bound(settings, settings.port)
    try:
        sock.listen(settings.backlog)
    except OSError as error:
        sock.close()
        raise _refusal(settings, error) from None
    sock.setblocking(False)
    return sock


def check_host(settings: HttpSettings, origin: str) -> None:
    """Check that the configured host is one of this machine, at whatever port is free.

    Args:
        settings: The settings.
        origin: Where the host was said, for the message.

    Raises:
        ConfigError: If it is not.
    """
    try:
        _bound(settings, 0).close()
    except ConfigError as error:
        raise ConfigError(str(error), origin) from None


def _bound(settings: HttpSettings, port: int) -> socket.socket:
    host = settings.host
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"http.host: {host!r} is not a host of this machine: {error}") from None
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        _set_options(sock, settings.write_timeout)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _refusal(settings, error) from None
    return sock


def _refusal(settings: HttpSettings, error: OSError) -> ConfigError:
    where = f"{settings.host}, port {settings.port}"
    return ConfigError(f"cannot listen at {where}: {_advice(error)}")


def adopt(sock: socket.socket, settings: HttpSettings) -> socket.socket:
    """Return a socket that another process has listened at, with the options of the settings."""
    _set_options(sock, settings.write_timeout)
    sock.listen(settings.backlog)
    sock.setblocking(False)
    return sock


def warn_if_open(settings: HttpSettings, sock: socket.socket) -> None:
    """Say so in the log where other machines can reach a service that asks nobody for a key."""
    host = sock.getsockname()[0]
    if not (settings.api_keys or settings.api_keys_file or is_loopback(sock)):
        logger.warning(
            "no keys are set, and %s is no loopback address: whoever can reach port %d of this "
            "machine can run every flow, at your cost; set http.api_keys or http.api_keys_file, "
            "or http.host=127.0.0.1",
            host,
            sock.getsockname()[1],
        )


def is_loopback(sock: socket.socket) -> bool:
    """Return whether a listening socket can be reached from this machine only."""
    return ip_address(sock.getsockname()[0]).is_loopback


def url_of(sock: socket.socket, *, secure: bool) -> str:
    """Return the URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if sock.family == socket.AF_INET6 else host
    return f"{'https' if secure else 'http'}://{shown}:{port}"


def _set_options(sock: socket.socket, write_timeout: float) -> None:
    if os.name == "posix":
        # On Windows this option would let two servers share a port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        milliseconds = int(write_timeout * 1000)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def _advice(error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    match error.errno:
        case errno.EADDRINUSE:
            return f"{reason}; stop the other program or choose another http.port"
        case errno.EACCES | errno.EPERM:
            return f"{reason}; ports below 1024 need privileges, choose another http.port"
        case _:
            return f"{reason}; check http.host and http.port"
