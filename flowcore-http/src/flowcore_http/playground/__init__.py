"""The playground: a page to run flows from, which the service serves beside them."""

from __future__ import annotations

from flowcore_http.playground.routes import endpoints

__all__ = ["endpoints"]
