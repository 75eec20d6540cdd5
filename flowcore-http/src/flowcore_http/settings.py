"""Settings of the service: the section ``http`` of the configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from flowcore_http.access_settings import AccessSettings

_DAY = 86_400.0
_ORIGIN = re.compile(
    r"\*|null|[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]+)?|[a-z]+://\[[0-9a-f:.]+\](:[0-9]+)?"
)
_FIELD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


class CorsSettings(BaseModel):
    """Which web pages of other origins may call the service.

    Attributes:
        allow_origin: Origins such as ``https://example.com``; ``*`` stands for any.
        allow_headers: Header fields that they may send.
        allow_credentials: Whether pages may send cookies and the like; needs named origins.
        max_age: Seconds for which browsers may remember the answer of a preflight.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow_origin: list[str] = Field(
        default_factory=lambda: ["*"], examples=[["https://example.com"]]
    )
    allow_headers: list[str] = Field(
        default_factory=lambda: [
            "Authorization",
            "Content-Type",
            "Flowcore-Trace",
            "Last-Event-ID",
        ]
    )
    allow_credentials: bool = False
    max_age: PositiveInt = 600

    @field_validator("allow_origin")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is not an origin, which browsers send in lower case and without "
                    "a path, such as 'https://example.com'"
                )
        return value

    @field_validator("allow_headers")
    @classmethod
    def _are_field_names(cls, value: list[str]) -> list[str]:
        for name in value:
            # A '*' would not stand for Authorization, and is forbidden together with credentials.
            if not _FIELD_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a header field")
        return value

    @model_validator(mode="after")
    def _no_credentials_for_everyone(self) -> Self:
        if self.allow_credentials and {"*", "null"} & {*self.allow_origin}:
            raise ValueError(
                "allow_credentials needs named origins in allow_origin, not '*' or 'null'"
            )
        return self


class ReplaySettings(BaseModel):
    """How much is kept of the events of runs, for clients that lost their connection.

    Attributes:
        bytes_per_run: The most that is kept of one run; the newest events stay.
        total_bytes: The most that is kept of all runs.
        seconds: How long a run is known after it has ended.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes_per_run: int = Field(default=256 * 1024, ge=0)
    total_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    seconds: float = Field(default=60.0, gt=0, le=_DAY)


class HttpSettings(AccessSettings):
    """Settings of the HTTP service, with those about its users.

    Attributes:
        host: Address to listen at; ``0.0.0.0`` or ``::`` for all interfaces.
        port: Port to listen at; 0 lets the system choose.
        cors: Which web pages of other origins may call the service.
        replay: How much is kept of the events of runs.
        heartbeat: Seconds of silence after which a stream gets a comment.
        max_body_bytes: Largest request body.
        body_timeout: Seconds a client may take to send a request body.
        max_connections: Connections at a time, in each process; beyond them, requests get 503.
        keep_alive_timeout: Seconds for which an idle connection is kept, and within which a
            client has to send the head of a request.
        backlog: Connections that may wait to be accepted.
        drain_timeout: Seconds that running requests get to finish after the first SIGTERM or
            SIGINT.
        write_timeout: Seconds after which a client that reads nothing is disconnected, on
            systems that have ``TCP_USER_TIMEOUT`` (Linux).
        metrics: Whether ``GET /metrics`` shows metrics for Prometheus.
        playground: Whether ``GET /playground`` shows a page to run flows from; None for where only
            this machine can reach the service. An app of :func:`flowcore_http.create_app`, which
            does not know that, has it if this is true.
        stall_warning: Seconds for which code may block the event loop before a warning tells of
            it; None for no such watch.
        certfile: Certificate chain in PEM form, to serve HTTPS.
        keyfile: Its private key.
        server: The server that carries the service; each but Hypercorn needs an extra of its name.
        workers: How many processes serve; more than one needs gunicorn, and not Windows.
        worker_timeout: Seconds after which a process whose event loop is blocked is replaced, if
            there are several; None for never.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8002, ge=0, le=65535)
    cors: CorsSettings = Field(default_factory=CorsSettings)
    replay: ReplaySettings = Field(default_factory=ReplaySettings)
    heartbeat: float = Field(default=15.0, ge=0.001, le=_DAY)
    max_body_bytes: PositiveInt = 10_000_000
    body_timeout: float = Field(default=60.0, gt=0, le=_DAY)
    max_connections: PositiveInt = 10_000
    keep_alive_timeout: float = Field(default=5.0, ge=0.001, le=_DAY)
    backlog: int = Field(default=2048, ge=1, le=65535)
    drain_timeout: float = Field(default=30.0, ge=0, le=_DAY)
    write_timeout: float = Field(default=30.0, ge=0.001, le=_DAY)
    metrics: bool = True
    playground: bool | None = None
    stall_warning: float | None = Field(default=1.0, ge=0.01, le=_DAY)
    certfile: Path | None = None
    keyfile: Path | None = None
    server: Literal["hypercorn", "uvicorn"] = "hypercorn"
    workers: int = Field(default=1, ge=1, le=1024)
    worker_timeout: int | None = Field(default=120, ge=1, le=86_400)

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.certfile is None) != (self.keyfile is None):
            raise ValueError("certfile and keyfile belong together: set both or none")
        return self
