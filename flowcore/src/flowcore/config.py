"""The configuration: YAML files, `.env`, the environment and arguments, in rising strength."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Self

from dotenv import dotenv_values
from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from flowcore.backend import KINDS
from flowcore.config_source import (
    Layer,
    environment_layer,
    find_config,
    mapping_layer,
    override_layer,
    yaml_layer,
)
from flowcore.errors import ConfigError
from flowcore.flow import FlowSettings
from flowcore.limits import Deadlines
from flowcore.validation import Origins, check_numbers, config_error

_layers: ContextVar[tuple[Layer, ...]] = ContextVar("layers", default=())
"""The layers that are being read, the strongest first."""


class FlowConfig(BaseSettings):
    """What an app is made of; :func:`load_config` reads it.

    Sections that are not fields here belong to services, which check them: ``http: {port: 8002}``.

    Attributes:
        backend: Name of the service to start.
        thread_pool_max_workers: How many sync ops run at the same time; one that was cancelled
            counts until its thread returns.
        language: Language of the prompts, such as ``"zh"``.
        imports: Modules to import before the flows are built; they are looked for in the working
            folder too. A module that implements hooks is a plugin.
        flow: The flows by name.
        llm: The LLM entries by name.
        embedding_model: The embedding model entries by name.
        vector_store: The vector store entries by name.
        deadlines: How long runs may take.
        max_concurrent_runs: How many runs may run at the same time, in one process.
        max_chunk_bytes: How large the content of one chunk may be; longer texts are split, other
            content is an error.
        max_answer_bytes: How large the answer of a flow that is not streamed may be, where its ops
            stream it; beyond that the run fails.
        show_errors: Whether callers see the text of exceptions that ops raise; if not, they see an
            error id, by which the log tells more.
        stream_buffer_chunks: How many chunks of a run may wait for its reader; then the op waits.
        stream_buffer_bytes: How many bytes of a run may wait for its reader; then the op waits.
    """

    model_config = SettingsConfigDict(extra="allow", frozen=True)

    backend: str = "http"
    thread_pool_max_workers: int = Field(default=128, ge=1, le=4096)
    language: str = ""
    imports: list[str] = Field(default_factory=list[str], examples=[["my_ops"]])
    flow: dict[str, FlowSettings] = Field(default_factory=dict[str, FlowSettings])
    llm: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    embedding_model: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    vector_store: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    deadlines: Deadlines = Field(default_factory=Deadlines)
    max_concurrent_runs: int = Field(default=10_000, ge=1)
    max_chunk_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    max_answer_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    show_errors: bool = True
    stream_buffer_chunks: int = Field(default=256, ge=1)
    stream_buffer_bytes: int = Field(default=1024 * 1024, ge=1)

    _origins: Origins = PrivateAttr(default_factory=Origins)
    _environment: dict[str, str] = PrivateAttr(default_factory=dict[str, str])

    @field_validator("imports", "flow", *KINDS, mode="before")
    @classmethod
    def _empty_section(cls, value: Any, info: ValidationInfo) -> Any:
        # In YAML, a key whose lines are all commented out holds null.
        if value is None:
            return [] if info.field_name == "imports" else {}
        return value

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # Models, stores and services have passwords and keys among their settings.
        hidden = {*KINDS, *self.sections}
        return [(name, value) for name, value in super().__repr_args__() if name not in hidden]

    @property
    def sections(self) -> Mapping[str, Any]:
        """The sections that belong to services, by name."""
        return self.model_extra or {}

    @property
    def origins(self) -> Origins:
        """Where each value was said, for messages."""
        return self._origins

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment, completed by `.env`, as it was when the configuration was loaded."""
        return self._environment

    def loaded_from(self, origins: Origins, environment: Mapping[str, str]) -> Self:
        """Remember where the values were said, and the environment of that moment."""
        self._origins, self._environment = origins, dict(environment)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments, and the layers while :func:`load_config` reads them.

        The stock sources know neither where a value was said nor the sections of services.
        """
        del env_settings, dotenv_settings, file_secret_settings
        return (init_settings, *(_LayerSource(settings_cls, layer) for layer in _layers.get()))


def load_config(*sources: str | os.PathLike[str] | Mapping[str, Any]) -> FlowConfig:
    """Read the configuration.

    Args:
        *sources: In any order: paths or names of YAML files (later ones win; ``"default"`` if
            there is none), mappings that stand for a file, and overrides such as
            ``"http.port=8003"``.

    Returns:
        The configuration, with flows, ops and backends not yet looked up.

    Raises:
        ConfigError: If something in it is wrong: where, what, and what was probably meant.

    Example:
        ``load_config("my.yaml", "llm.default.model_name=qwen3-max")``
    """
    environment = {**_read_dotenv(), **os.environ}
    overrides = [s for s in sources if isinstance(s, str) and _is_override(s)]
    files = [s for s in sources if not (isinstance(s, str) and _is_override(s))] or ["default"]
    layers = [
        override_layer(overrides),
        environment_layer(environment),
        *(_file_layer(source, environment) for source in reversed(files)),
    ]
    origins = Origins()
    for layer in reversed(layers):
        origins.update(layer.origins)
        check_numbers(FlowConfig, layer.data, layer.origins)

    token = _layers.set(tuple(layers))
    try:
        config = FlowConfig()
    except ValidationError as error:
        raise config_error(error, FlowConfig, origins) from None
    finally:
        _layers.reset(token)
    return config.loaded_from(origins, environment)


def _read_dotenv() -> dict[str, str]:
    try:
        values = dotenv_values(".env")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", ".env") from None
    return {name: value for name, value in values.items() if value is not None}


class _LayerSource(PydanticBaseSettingsSource):
    def __init__(self, settings_cls: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings_cls)
        self._layer = layer

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        del field
        return self._layer.data.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._layer.data


def _is_override(source: str) -> bool:
    key, equals, _ = source.partition("=")
    return bool(equals) and "/" not in key and not os.path.isfile(source)  # noqa: PTH113


def _file_layer(
    source: str | os.PathLike[str] | Mapping[str, Any], environment: Mapping[str, str]
) -> Layer:
    if isinstance(source, Mapping):
        return mapping_layer(source)
    layer = yaml_layer(find_config(os.fspath(source)), environment)
    if "config" in layer.data:
        raise ConfigError("a config file cannot name another one", layer.origins.find(("config",)))
    return layer
