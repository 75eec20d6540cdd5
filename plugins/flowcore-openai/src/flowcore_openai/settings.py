"""The config keys of the two backends."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator

from flowcore import Env, ModelSettings

OPENAI_URL = "https://api.openai.com/v1"

_DAY = 86_400.0
Seconds = Annotated[float, Field(gt=0, le=_DAY, allow_inf_nan=False)]


class EndpointSettings(ModelSettings):
    """Settings that both backends share. All times are in seconds, and at most a day.

    Attributes:
        api_key: Key of the API; servers that need none are called with a placeholder.
        base_url: Root of the API, such as ``http://127.0.0.1:8000/v1``.
        max_connections: Most connections at once; a call that gets none within
            ``connect_timeout`` fails.
        max_retries: Attempts after the first one, each before any content has arrived.
        retry_backoff: Wait before the first retry, doubled for each further one up to 8 s, with
            jitter; what the upstream asks for in ``Retry-After`` takes its place.
        max_retry_after: Longest ``Retry-After`` to comply with; a longer one fails at once.
        connect_timeout: Longest wait for a connection.
        total_timeout: Longest duration of one request with its retries; None for no limit.
    """

    # A ValidationError would quote the value, which may be the key.
    model_config = ConfigDict(hide_input_in_errors=True)

    key_variable: ClassVar[str]

    api_key: SecretStr | None = None
    base_url: str = Field(default=OPENAI_URL, repr=False)
    max_connections: int = Field(default=1000, ge=1, le=100_000)
    max_retries: int = Field(default=2, ge=0, le=100)
    retry_backoff: Seconds = 0.5
    max_retry_after: Seconds = 60
    connect_timeout: Seconds = 10
    total_timeout: Seconds | None = None

    @field_validator("params")
    @classmethod
    def _check_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        # They would be fields of each request, a key as well.
        for name in params:
            if name in cls.model_fields:
                raise ValueError(f"{name!r} is no field of a request; write it beside 'params'")
            if name == "raise_exception":
                raise ValueError(f"delete {name!r}; a model that fails always raises its error")
        return params

    @field_validator("api_key")
    @classmethod
    def _check_key(cls, key: SecretStr | None) -> SecretStr | None:
        # A key read from a file often ends in a newline.
        text = key.get_secret_value().strip() if key else ""
        if not text:
            return None
        if not (text.isascii() and text.isprintable()):
            raise ValueError("the key holds characters that no HTTP header can carry")
        return SecretStr(text)

    @field_validator("base_url", mode="before")
    @classmethod
    def _default_url(cls, url: object) -> object:
        return url or OPENAI_URL

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        url = url.strip()
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("write a URL such as https://api.example.com/v1")
        return url


class LLMSettings(EndpointSettings):
    """Settings of the ``openai_compatible`` LLM.

    Attributes:
        first_token_timeout: Longest wait of one attempt, connecting included, for the first
            piece of content; None for no limit.
        idle_timeout: Longest wait for further data, once content has arrived; keep-alive
            comments do not count as data; None for no limit.
    """

    key_variable: ClassVar[str] = "FLOW_LLM_API_KEY"

    api_key: Annotated[SecretStr | None, Env("FLOW_LLM_API_KEY")] = None
    base_url: Annotated[str, Env("FLOW_LLM_BASE_URL")] = Field(default=OPENAI_URL, repr=False)
    first_token_timeout: Seconds | None = 120
    idle_timeout: Seconds | None = 60


class EmbeddingSettings(EndpointSettings):
    """Settings of the ``openai_compatible`` embedding model.

    Attributes:
        max_batch_size: Most texts in one request.
    """

    key_variable: ClassVar[str] = "FLOW_EMBEDDING_API_KEY"

    api_key: Annotated[SecretStr | None, Env("FLOW_EMBEDDING_API_KEY")] = None
    base_url: Annotated[str, Env("FLOW_EMBEDDING_BASE_URL")] = Field(default=OPENAI_URL, repr=False)
    max_batch_size: int = Field(default=10, ge=1)
    total_timeout: Seconds | None = 60
