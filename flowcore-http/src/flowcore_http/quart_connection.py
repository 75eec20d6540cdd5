"""Quart, with two faults mended: what ends a request, and how its endpoint is found."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from quart import Quart
from quart.asgi import ASGIHTTPConnection
from quart.wrappers import BaseRequestWebsocket
from werkzeug.routing import MapAdapter

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

_QUART_VERSION = tuple(int(part) for part in importlib.metadata.version("quart").split(".")[:2])


class HostBlindQuart(Quart):
    """A Quart app that looks up paths, and makes URLs, without regard to the header ``Host``.

    Quart itself fails on a name that cannot be one in the DNS, before any check could refuse it.
    """

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        """Return what finds the endpoint of a request."""
        if request is None:
            return super().create_url_adapter(request)
        return self.url_map.bind(
            "localhost",
            request.root_path,
            url_scheme=request.scheme,
            default_method=request.method,
            path_info=request.path,
            query_args=request.query_string.decode("latin-1"),
        )


def entry_of(app: ASGIFramework) -> ASGIFramework:
    """Return what answers the requests for an app, less the coroutine that Quart puts around it."""
    if not isinstance(app, Quart):
        return app

    def enter(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Awaitable[None]:
        return app.asgi_app(scope, receive, send)  # which may be wrapped while the app serves

    return enter


class _Connection(ASGIHTTPConnection):
    """Ends both tasks of a request before it returns, also when the server cancels it.

    Quart before 0.23, which is to say on Python before 3.13, leaves them running.
    """

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        request = self._create_request_from_scope(send)
        handler = asyncio.create_task(self.handle_request(request, send))
        receiver = asyncio.create_task(self.handle_messages(request, receive))
        tasks = (handler, receiver)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()


CONNECTION_CLASS = _Connection if _QUART_VERSION < (0, 23) else ASGIHTTPConnection
