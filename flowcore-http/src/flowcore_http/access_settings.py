"""The part of the section ``http`` that tells who may use the service, and how much."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from pydantic import ConfigDict, Field, PositiveInt, SecretStr, field_validator

from flowcore import ServiceSettings
from flowcore_http.addresses import parse_proxies
from flowcore_http.keys import check_keys

_HOST_NAME = re.compile(r"\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")


class AccessSettings(ServiceSettings):
    """Settings about those who use the service.

    Attributes:
        api_keys: Keys, by the names of their holders or as a list; without any, everybody who can
            reach the service may use it.
        api_keys_file: A text file with further keys, each in a line ``name: key`` or by itself;
            lines that begin with ``#`` are comments.
        allowed_hosts: Names that the service answers to: ``example.com``, ``*.example.com`` for
            all below it, ``*`` for any; ``/health`` and ``/ready`` answer to every name.
        trusted_proxies: Addresses and networks of proxies whose ``X-Forwarded-For`` is believed.
        rate_limit: How often each key, or each address where there are no keys, may ask, such as
            ``60/minute``; None for any number.
        rate_limit_storage: URL of what several processes count in, such as
            ``redis://127.0.0.1:6379``; by default each counts by itself.
        max_runs_per_key: How many runs each key, or address, may have at the same time; None for
            any number.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    api_keys: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    api_keys_file: Path | None = None
    allowed_hosts: list[str] = Field(default_factory=lambda: ["*"], examples=[["example.com"]])
    trusted_proxies: list[str] = Field(default_factory=list[str], examples=[["127.0.0.1"]])
    rate_limit: str | None = Field(default=None, examples=["60/minute"])
    rate_limit_storage: SecretStr | None = None
    max_runs_per_key: PositiveInt | None = None

    @field_validator("api_keys", mode="before")
    @classmethod
    def _name_keys(cls, value: Any) -> dict[str, SecretStr]:
        if isinstance(value, list):
            listed = cast("list[Any]", value)
            value = {f"key-{number}": key for number, key in enumerate(listed, 1)}
        if not isinstance(value, dict):
            raise ValueError("write `name: key` for each key below it, or a list of keys")  # noqa: TRY004 - pydantic expects it
        keys: dict[str, SecretStr] = {}
        for number, (name, key) in enumerate(cast("dict[Any, Any]", value).items(), 1):
            if not isinstance(key, str | SecretStr):
                raise ValueError(f"key number {number} is not a text; put it in quotes")  # noqa: TRY004
            keys[str(name)] = SecretStr(key) if isinstance(key, str) else key
        check_keys(keys)
        return keys

    @field_validator("api_keys_file", mode="before")
    @classmethod
    def _is_named(cls, value: Any) -> Any:
        # What was left empty by mistake must not open the service to everybody.
        if value in {None, ""}:
            raise ValueError("it names no file; leave the setting out to serve without keys")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_host_names(cls, value: list[str]) -> list[str]:
        names = [name.lower() for name in value]
        for name in names:
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not a host name; write it without scheme and port, such as "
                    "'example.com', '*.example.com' or '[::1]'"
                )
        if not names:
            raise ValueError("no name is allowed; write '*' for any")
        return names

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        parse_proxies(value)
        return value

    @field_validator("rate_limit")
    @classmethod
    def _is_rate(cls, value: str | None) -> str | None:
        if value is not None:
            from flowcore_http.rate_limit import parse_rate  # noqa: PLC0415 - loads `limits`

            parse_rate(value)
        return value
