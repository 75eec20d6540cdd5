"""HTTPS: what the server shows its clients."""

from __future__ import annotations

import ssl
from typing import Any

from flowcore import ConfigError
from flowcore_http.exchange import LINGER_SECONDS
from flowcore_http.settings import HttpSettings

HANDSHAKE_SECONDS = 10.0
"""How long a handshake may take."""


def tls_context(settings: HttpSettings) -> ssl.SSLContext | None:
    """Return how connections are encrypted, for HTTP/1.1 alone; None where they are not.

    Raises:
        ConfigError: If the certificate or its key cannot be read.
    """
    if settings.certfile is None or settings.keyfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.certfile, settings.keyfile)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"http.certfile, http.keyfile: {error}") from None
    return context


def transport_options(context: ssl.SSLContext | None) -> dict[str, Any]:
    """Return what asyncio is to be told when it opens an accepted connection."""
    if context is None:
        return {}
    return {
        "ssl": context,
        "ssl_handshake_timeout": HANDSHAKE_SECONDS,
        "ssl_shutdown_timeout": LINGER_SECONDS,
    }
