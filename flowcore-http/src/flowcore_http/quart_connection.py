"""What hands a request to Quart, with a fault of older versions mended."""

from __future__ import annotations

import asyncio
import importlib.metadata
from typing import TYPE_CHECKING

from quart.asgi import ASGIHTTPConnection

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable

_QUART_VERSION = tuple(int(part) for part in importlib.metadata.version("quart").split(".")[:2])


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
