"""The mark of requests that another process of the same service has let in and passed on.

It stands in the ASGI scope, where no client can write; see :mod:`flowcore_http.siblings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from flowcore_http.exchange import Exchange

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

_MARK = "flowcore.forwarded"


class Forwarded:
    """ASGI middleware that marks all requests.

    Args:
        app: The ASGI app that answers them.
    """

    def __init__(self, app: ASGIFramework) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Handle one ASGI connection."""
        cast("dict[str, Any]", scope)[_MARK] = True
        await self._app(scope, receive, send)


def is_forwarded(exchange: Exchange) -> bool:
    """Whether another process passed the request on, having counted and logged it."""
    return exchange.scope.get(_MARK, False)
