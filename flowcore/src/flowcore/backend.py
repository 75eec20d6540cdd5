"""What LLMs, embedding models and vector stores have in common: settings, identity and an end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

KINDS = ("llm", "embedding_model", "vector_store")
"""The kinds of backends, as the sections of a configuration are called that hold their entries."""


class Env:
    """Marks a settings field that falls back to an environment variable.

    The config entry's own value wins over the variable, so that two entries can name two
    providers.

    Example:
        ``api_key: Annotated[SecretStr | None, Env("FLOW_LLM_API_KEY")] = None``

    Args:
        name: Name of the variable, looked up in the environment and then in ``.env``.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class BackendSettings(BaseModel):
    """Settings of one entry under ``llm``, ``embedding_model`` or ``vector_store``.

    A backend subclasses this with the keys that it understands; all others are refused with a
    suggestion.
    """

    # A key that consists of digits is read from YAML as a number.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    @classmethod
    def complete(cls, entry: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
        """Return what a config entry says of the settings, all but its ``backend``.

        Absent :class:`Env` fields are taken from ``environment``.
        """
        data = {key: value for key, value in entry.items() if key != "backend"}
        for name, field in cls.model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, Env) and data.get(name) is None and environment.get(mark.name):
                    data[name] = environment[mark.name]
        return data


class ModelSettings(BackendSettings):
    """Settings of a backend that serves a model.

    Attributes:
        model_name: Name of the model as the backend knows it.
        params: Defaults for every call, such as ``{"temperature": 0.6}``.
    """

    model_name: str = Field(examples=["qwen3-max"])
    params: dict[str, Any] = Field(default_factory=dict)


class Backend:
    """Base of the objects that an app makes once for each configured name and shares."""

    Settings: ClassVar[type[BackendSettings]] = BackendSettings

    async def aclose(self) -> None:
        """Release connections and memory; called once, after the last run has ended."""
