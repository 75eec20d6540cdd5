"""Settings of the service: the section ``http`` of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from flowcore import ServiceSettings

_DAY = 86_400.0


class CorsSettings(BaseModel):
    """Which web pages of other origins may call the service.

    Attributes:
        allow_origin: Origins such as ``https://example.com``; ``*`` stands for any.
        allow_credentials: Whether pages may send cookies and the like; needs named origins.
        max_age: Seconds for which browsers may remember the answer of a preflight.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow_origin: list[str] = Field(default_factory=lambda: ["*"])
    allow_credentials: bool = False
    max_age: PositiveInt = 600

    @model_validator(mode="after")
    def _no_credentials_for_everyone(self) -> Self:
        if self.allow_credentials and "*" in self.allow_origin:
            raise ValueError("allow_credentials needs named origins in allow_origin, not '*'")
        return self


class HttpSettings(ServiceSettings):
    """Settings of the HTTP service.

    Attributes:
        host: Address to listen at; ``0.0.0.0`` or ``::`` for all interfaces.
        port: Port to listen at; 0 lets the system choose.
        cors: Which web pages of other origins may call the service.
        heartbeat: Seconds of silence after which a stream gets a comment.
        max_body_bytes: Largest request body.
        body_timeout: Seconds a client may take to send a request body.
        backlog: Connections that may wait to be accepted.
        drain_timeout: Seconds that running requests get to finish after the first SIGTERM or
            SIGINT.
        write_timeout: Seconds after which a client that reads nothing is disconnected, on
            systems that have ``TCP_USER_TIMEOUT`` (Linux).
        certfile: Certificate chain in PEM form, to serve HTTPS.
        keyfile: Its private key.
        workers: How many processes serve; more than one needs gunicorn, and not Windows.
        worker_timeout: Seconds after which a process whose event loop is blocked is replaced, if
            there are several; None for never.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8002, ge=0, le=65535)
    cors: CorsSettings = Field(default_factory=CorsSettings)
    heartbeat: float = Field(default=15.0, ge=0.001, le=_DAY)
    max_body_bytes: PositiveInt = 10_000_000
    body_timeout: float = Field(default=60.0, gt=0, le=_DAY)
    backlog: int = Field(default=2048, ge=1, le=65535)
    drain_timeout: float = Field(default=30.0, ge=0, le=_DAY)
    write_timeout: float = Field(default=30.0, ge=0.001, le=_DAY)
    certfile: Path | None = None
    keyfile: Path | None = None
    workers: int = Field(default=1, ge=1, le=1024)
    worker_timeout: int | None = Field(default=120, ge=1, le=86_400)

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.certfile is None) != (self.keyfile is None):
            raise ValueError("certfile and keyfile belong together: set both or none")
        return self
