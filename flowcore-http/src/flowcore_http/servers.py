"""Which server carries the service; its package is imported only where it is chosen.

A server is a module of this package with a function ``server(settings)`` that returns a
:class:`Server`.
"""

from __future__ import annotations

import importlib
import importlib.util
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import anyio

from flowcore import ConfigError
from flowcore_http.extras import how_to_install
from flowcore_http.settings import HttpSettings

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework


class Server(Protocol):
    """Serves ASGI apps over HTTP/1.1, with settings that it has been given."""

    async def __call__(
        self,
        app: ASGIFramework,
        sock: socket.socket,
        stopped: Callable[[], Awaitable[object]],
        retired: Callable[[], Awaitable[object]] = anyio.sleep_forever,
    ) -> None:
        """Serve ``app`` until ``stopped()`` returns, then close all connections.

        No lifespan events are sent. When this is cancelled, connections are aborted at once.

        Args:
            app: The ASGI app.
            sock: The listening socket.
            stopped: Returns when the service is to stop.
            retired: Returns when no more connections are to be accepted; those that are open are
                served on.
        """
        ...


class _Home(NamedTuple):
    module: str
    packages: tuple[str, ...]


_HOMES = {
    "hypercorn": _Home("flowcore_http.connections", ()),
    "uvicorn": _Home("flowcore_http.uvicorn_server", ("uvicorn", "httptools")),
}


def check_server(settings: HttpSettings, where: str = "") -> None:
    """Check that the server that the settings name is installed.

    Args:
        settings: Settings of the service.
        where: Where in the configuration it is named, if that is known.

    Raises:
        ConfigError: If it is not.
    """
    name = settings.server
    missing = [p for p in _HOMES[name].packages if importlib.util.find_spec(p) is None]
    if missing:
        raise ConfigError(
            f"http.server: {name} needs {' and '.join(missing)}; "
            f"run: {how_to_install(name)}; or leave http.server out",
            where,
        )


def server_of(settings: HttpSettings) -> Server:
    """Return the server that the settings name, ready to serve as they say.

    Raises:
        ConfigError: If it is not installed, or a certificate cannot be read.
    """
    check_server(settings)
    return importlib.import_module(_HOMES[settings.server].module).server(settings)
