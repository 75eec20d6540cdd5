"""How the failures of one endpoint are told: what happened, at which model, without secrets."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from flowcore import BackendError
from flowcore_openai.settings import EndpointSettings
from flowcore_openai.surrogates import repaired

MAX_DETAIL_CHARS = 500
_TAG = re.compile(r"<[^<>]*>")
_SECRET_NAME = re.compile("key|token|secret|sig|pass|auth", re.IGNORECASE)


class Failures:
    """Makes the errors of one endpoint.

    Args:
        settings: Settings of the endpoint; they name the model, the host and the secrets.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self._where = f"model {settings.model_name!r} at {host_of(settings.base_url)}"
        self._secrets = [SecretStr(secret) for secret in _secrets(settings)]
        self._key_hint = (
            f"check api_key or {settings.key_variable}"
            if settings.api_key
            else f"{settings.key_variable} is not set"
        )

    def error(
        self,
        code: str,
        what: str,
        *,
        detail: object = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> BackendError:
        """Return an error that is safe to show.

        Args:
            code: Stable identifier, such as ``"upstream_reset"``.
            what: What happened, in our words.
            detail: What the upstream said about it: a text, or JSON data that holds one.
            status: HTTP status of the answer.
            retry_after: Seconds that the upstream asked to wait.
        """
        message = f"{self._where}: {what}"
        if said := self._readable(detail):
            message += f": {said}"
        return BackendError(
            self._masked(message), code=code, status=status, retry_after=retry_after
        )

    def of_status(
        self, status: int, body: object, retry_after: float | None, location: str | None
    ) -> BackendError:
        """Return the error for an answer whose status is not 2xx."""
        what = f"HTTP {status}"
        if 300 <= status < 400:
            code = "upstream_rejected"
            body = None
            target = f" to {host_of(location)}" if location else ""
            what += f", a redirect{target}, which is not followed; correct base_url"
        elif status in {401, 403}:
            code = "upstream_auth"
            what += f" ({self._key_hint})"
        elif status == 404:
            code = "upstream_not_found"
        elif status == 429:
            code = "upstream_rate_limited"
        else:
            code = "upstream_error" if status >= 500 else "upstream_rejected"
        return self.error(code, what, detail=body, status=status, retry_after=retry_after)

    def _readable(self, detail: object) -> str:
        text = self._masked(repaired(_message_in(detail)))
        if text.lstrip().startswith("<"):
            text = _TAG.sub(" ", text)
        text = "".join(c if c.isprintable() else " " for c in text[: 20 * MAX_DETAIL_CHARS])
        text = " ".join(text.split())
        return text if len(text) <= MAX_DETAIL_CHARS else text[:MAX_DETAIL_CHARS] + "…"

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret.get_secret_value(), "***")
        return text


def host_of(url: str) -> str:
    """Return host and port of a URL: neither its user nor its query is fit to be shown."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "the same host"
    except ValueError:
        return "a malformed URL"


def _secrets(settings: EndpointSettings) -> Iterator[str]:
    if settings.api_key:
        yield settings.api_key.get_secret_value()
    url = urlsplit(settings.base_url)
    user, password = unquote(url.username or ""), unquote(url.password or "")
    if user or password:
        # As it is sent (RFC 7617) and as it may be repeated; a token may stand for the user.
        yield b64encode(f"{user}:{password}".encode()).decode()
        yield from {url.password or url.username or "", password or user}
    yield from (value for name, value in parse_qsl(url.query) if _SECRET_NAME.search(name))


def _message_in(detail: object) -> str:
    # OpenAI: {"error": {"message"}}; others: {"error": "…"}, {"message"}, {"detail"} of FastAPI.
    while isinstance(detail, dict):
        data = cast("dict[str, Any]", detail)
        values: list[object] = [data.get(key) for key in ("error", "message", "detail")]
        inner = next((v for v in values if v and not isinstance(v, bool)), None)
        if inner is None:
            break
        detail = inner
    if detail is None or isinstance(detail, str):
        return detail or ""
    return json.dumps(detail, ensure_ascii=False, default=str)
