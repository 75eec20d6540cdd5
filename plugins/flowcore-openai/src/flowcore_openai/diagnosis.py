"""What `flowcore doctor` tells of the endpoints: where they are, and whether they answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from flowcore import Finding, FlowConfig
from flowcore_openai.settings import OPENAI_URL, EmbeddingSettings, EndpointSettings, LLMSettings

_SECONDS = 5.0
_TIMES = ("connect_timeout", "first_token_timeout", "idle_timeout", "total_timeout")
_BY_STATUS = {
    401: ("refuses the key", "check the key, and that it belongs to this base_url"),
    403: ("refuses the key", "check what the key is allowed to do"),
    429: ("answers, but refuses requests for now", "check the quota of the key"),
}


def diagnose(config: FlowConfig, online: bool) -> Iterator[Finding]:
    """Tell of all entries with ``backend: openai_compatible``."""
    kinds: tuple[tuple[str, Mapping[str, Mapping[str, Any]], type[EndpointSettings]], ...] = (
        ("llm", config.llm, LLMSettings),
        ("embedding_model", config.embedding_model, EmbeddingSettings),
    )
    for kind, entries, settings_class in kinds:
        for name, entry in entries.items():
            if entry.get("backend") != "openai_compatible":
                continue
            own = settings_class.complete(entry, config.environment)
            try:
                settings = settings_class.model_validate(own)
            except ValidationError:
                continue  # the configuration is wrong, which flowcore says with the place
            yield from _look_at(f"{kind}.{name}", settings, online)
            for key in _TIMES:
                if hasattr(settings, key):
                    yield Finding.of_setting(config, (kind, name, key), getattr(settings, key), "s")


def _look_at(where: str, settings: EndpointSettings, online: bool) -> Iterator[Finding]:
    host = urlsplit(settings.base_url).hostname or ""
    is_local = host in {"localhost", "127.0.0.1", "::1"}
    name = f"{where}.base_url"
    yield Finding("models", name, host)
    if settings.api_key is None and not is_local:
        # Other servers may need none, and many a configuration embeds nothing.
        is_vital = settings.base_url == OPENAI_URL and isinstance(settings, LLMSettings)
        level = "problem" if is_vital else "warning"
        text = f"there is no key for {host}"
        advice = f"set {settings.key_variable} in the environment or in .env, or {where}.api_key"
        yield Finding("models", f"{where}.api_key", text, level, advice)
    if online:
        yield _ask(name, settings, host)


def _ask(name: str, settings: EndpointSettings, host: str) -> Finding:
    """Ask for the list of models, which costs nothing."""
    import httpx2  # noqa: PLC0415 - slow to import

    url = urlsplit(settings.base_url)
    target = url._replace(path=f"{url.path.rstrip('/')}/models").geturl()
    key = settings.api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    try:
        status = httpx2.get(target, headers=headers, timeout=_SECONDS).status_code
    # Its text may hold the URL, and that a password.
    except Exception as error:  # noqa: BLE001
        advice = "check the network, proxies and base_url; for a local server, that it runs"
        text = f"{host} cannot be reached: {type(error).__name__}"
        return Finding("models", name, text, "problem", advice)
    if status in _BY_STATUS:
        text, advice = _BY_STATUS[status]
        level = "warning" if status == 429 else "problem"
        return Finding("models", name, f"{host} {text} ({status})", level, advice)
    if status >= 500:
        return Finding("models", name, f"{host} is in trouble ({status})", "warning", "try again")
    # Some servers have no list of models.
    return Finding("models", name, f"{host} answers ({status})", "ok")
